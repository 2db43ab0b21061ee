/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "io/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vq_tensors *set, *copy;
    vq_bytes bytes;
    if (vq_safetensors_parse(&set, data, size, "input", NULL))
        return 0;
    if (vq_safetensors_serialize(&bytes, set) ||
        vq_safetensors_parse(&copy, bytes.data, bytes.size, "copy", NULL) ||
        vq_tensors_count(copy) != vq_tensors_count(set))
        abort();
    for (size_t i = 0; i < vq_tensors_count(set); i++) {
        const vq_tensor *a = vq_tensors_at(set, i), *b = vq_tensors_at(copy, i);
        const size_t size_of_a = a->count * vq_dtype_size(a->dtype);
        if (strcmp(a->name, b->name) != 0 || a->count != b->count || a->dtype != b->dtype ||
            (size_of_a && memcmp(a->data, b->data, size_of_a) != 0))
            abort();
    }
    vq_bytes_clear(&bytes);
    vq_tensors_free(copy);
    vq_tensors_free(set);
    return 0;
}
