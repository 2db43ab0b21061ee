/* SPDX-License-Identifier: Apache-2.0 */
#include "vq/options_internal.h"

#include <string.h>

#include "vq/error_internal.h"

vq_status vqi_options(void *own, size_t own_size, const void *theirs, const char *what)
{
    memset(own, 0, own_size);
    if (theirs) {
        size_t their_size;
        memcpy(&their_size, theirs, sizeof their_size);
        if (their_size < sizeof(size_t))
            return vqi_fail(VQ_E_ARG, "%s.struct_size is %zu (begin with the _INIT macro)", what,
                            their_size);
        if (their_size > own_size) {
            const unsigned char *bytes = theirs;
            for (size_t i = own_size; i < their_size; i++)
                if (bytes[i])
                    return vqi_fail(VQ_E_ARG,
                                    "%s.struct_size is %zu and sets fields that libvq %s does not "
                                    "know (this library is older than the header)",
                                    what, their_size, vq_version());
            their_size = own_size;
        }
        memcpy(own, theirs, their_size);
    }
    memcpy(own, &own_size, sizeof own_size);
    return VQ_OK;
}
