/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "io/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vq_tensors *set, *copy;
    vq_bytes bytes;
    if (vq_npy_parse(&set, data, size, "array", NULL))
        return 0;
    const vq_tensor *a = vq_tensors_at(set, 0);
    if (vq_npy_serialize(&bytes, a) || vq_npy_parse(&copy, bytes.data, bytes.size, "array", NULL))
        abort();
    const vq_tensor *b = vq_tensors_at(copy, 0);
    const size_t size_of_a = a->count * vq_dtype_size(a->dtype);
    if (a->ndim != b->ndim || a->dtype != b->dtype ||
        memcmp(a->shape, b->shape, sizeof a->shape) != 0 ||
        (size_of_a && memcmp(a->data, b->data, size_of_a) != 0))
        abort();
    vq_bytes_clear(&bytes);
    vq_tensors_free(copy);
    vq_tensors_free(set);
    return 0;
}
