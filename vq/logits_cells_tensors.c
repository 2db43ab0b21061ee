/* SPDX-License-Identifier: Apache-2.0 */
/* What the heads of clusters have in common: codewords and the tokens of each, to and from sets of tensors. */
#include "vq/error_internal.h"
#include "vq/logits_internal.h"
#include "vq/memory_internal.h"
#include "vq/quantizer_internal.h"

#include <string.h>

uint32_t vqi_cells_group(const vq_head *head, uint32_t row)
{
    uint32_t low = 0, high = head->groups;
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        if (head->first[middle] <= row)
            low = middle;
        else
            high = middle;
    }
    return low;
}

void vqi_cells_describe(vq_head_info *info, const vq_head *head)
{
    info->codes = head->k;
    info->code_storage = vqi_head_storage_of(head->codes.dtype);
    for (uint32_t g = 0; g < head->k; g++) {
        const uint32_t size = head->first[g + 1] - head->first[g];
        info->largest_code = size > info->largest_code ? size : info->largest_code;
    }
    info->bytes +=
        head->k * vqi_row_bytes(&head->codes) + (head->groups + 1 + 2 * head->v) * sizeof(uint32_t);
}

vq_status vqi_cells_save(vq_tensors *tensors, const vq_head *head, const char *prefix)
{
    const vq_status status = vqi_head_save_rows(tensors, prefix, "codes", &head->codes);
    return status ? status
                  : vqi_head_save_array(tensors, prefix, "first", VQ_DTYPE_U32,
                                        (size_t)head->groups + 1, 0, head->first);
}

static vq_status load_first(vq_head *head, const vq_tensors *tensors, const char *prefix)
{
    const vq_tensor *tensor;
    const vq_status status =
        vqi_head_load_array(&tensor, tensors, prefix, "first", VQ_DTYPE_U32, 0);
    if (status)
        return status;
    const uint32_t *first = tensor->data;
    if (tensor->count != (size_t)head->k + 1 && tensor->count != (size_t)head->k + 2)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" has %zu numbers for %u codewords", tensor->name,
                        tensor->count, head->k);
    head->groups = (uint32_t)tensor->count - 1;
    if (first[0] || first[head->groups] != head->v)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" does not go from 0 to %zu", tensor->name,
                        head->v);
    for (uint32_t g = 0; g < head->groups; g++)
        if (first[g + 1] <= first[g])
            return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" does not rise at %u", tensor->name, g + 1);
    head->first = vqi_alloc(tensor->count, sizeof *first);
    if (!head->first)
        return vqi_fail_nomem((unsigned long long)tensor->count * sizeof *first);
    memcpy(head->first, first, tensor->count * sizeof *first);
    return VQ_OK;
}

vq_status vqi_cells_load(vq_head *head, const vq_tensors *tensors, const char *prefix,
                         const vq_limits *limits)
{
    vq_status status =
        vqi_head_load_rows(&head->codes, tensors, prefix, "codes", 0, head->d, limits);
    if (status)
        return status;
    head->d = head->codes.d;
    head->k = (uint32_t)head->codes.n;
    return load_first(head, tensors, prefix);
}
