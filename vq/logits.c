/* SPDX-License-Identifier: Apache-2.0 */
/* A head as an object: names, its making by mode, and what it tells of itself. */
#include "vq/logits.h"

#include <stdlib.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/logits_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"

static const char *const mode_names[] = {"rerank", "dense", "tied", "rvq"};
static const char *const storage_names[] = {"as given", "f32", "f16", "bf16", "i8"};

enum { MODES = 4, STORAGES = 5 };

const char *vq_head_mode_name(vq_head_mode mode)
{
    return (unsigned)mode < MODES ? mode_names[mode] : "?";
}

const char *vq_head_storage_name(vq_head_storage storage)
{
    return (unsigned)storage < STORAGES ? storage_names[storage] : "?";
}

vq_status vq_head_mode_parse(vq_head_mode *mode, const char *name)
{
    for (int m = 0; m < MODES; m++)
        if (!strcmp(name, mode_names[m])) {
            *mode = (vq_head_mode)m;
            return VQ_OK;
        }
    return vqi_fail(VQ_E_ARG, "\"%.40s\" is not a mode (use rerank, dense, tied or rvq)", name);
}

vq_status vq_head_storage_parse(vq_head_storage *storage, const char *name)
{
    for (int s = 0; s < STORAGES; s++)
        if (!strcmp(name, storage_names[s])) {
            *storage = (vq_head_storage)s;
            return VQ_OK;
        }
    return vqi_fail(VQ_E_ARG, "\"%.40s\" is not a storage (use as given, f32, f16, bf16 or i8)",
                    name);
}

vq_dtype vqi_head_dtype(vq_head_storage storage, vq_dtype given)
{
    static const vq_dtype dtypes[STORAGES] = {VQ_DTYPE_F32, VQ_DTYPE_F32, VQ_DTYPE_F16,
                                              VQ_DTYPE_BF16, VQ_DTYPE_I8};
    return storage == VQ_HEAD_AS_GIVEN ? given : dtypes[storage];
}

vq_head_storage vqi_head_storage_of(vq_dtype dtype)
{
    return dtype == VQ_DTYPE_F16    ? VQ_HEAD_F16
           : dtype == VQ_DTYPE_BF16 ? VQ_HEAD_BF16
           : dtype == VQ_DTYPE_I8   ? VQ_HEAD_I8
                                    : VQ_HEAD_F32;
}

void vq_head_free(vq_head *head)
{
    if (!head)
        return;
    vqi_rows_clear(&head->rows);
    vqi_rows_clear(&head->codes);
    vqi_books_clear(head);
    vq_free(head->ids);
    vq_free(head->first);
    vq_free(head->tokens);
    vq_free(head->at);
    vq_free(head->spread);
    vq_free(head->token_bias);
    vq_free(head->code_mass);
    vq_free(head);
}

vq_status vq_head_get_info(vq_head_info *info, const vq_head *head)
{
    vq_head_info own = VQ_HEAD_INFO_INIT;
    if (info->struct_size < sizeof info->struct_size)
        return vqi_fail(VQ_E_ARG, "vq_head_info.struct_size is %zu (begin with the _INIT macro)",
                        info->struct_size);
    const size_t size = info->struct_size < sizeof own ? info->struct_size : sizeof own;
    own.mode = head->kind->mode;
    own.v = head->v;
    own.d = head->d;
    own.bytes = head->v * sizeof *head->ids;
    head->kind->describe(&own, head);
    own.struct_size = info->struct_size;
    memcpy(info, &own, size);
    return VQ_OK;
}

const uint32_t *vq_head_ids(const vq_head *head)
{
    return head->ids;
}

vq_status vq_head_decode(float *rows, float *biases, const vq_head *head, size_t first,
                         size_t count)
{
    if (first > head->v || count > head->v - first)
        return vqi_fail(VQ_E_ARG, "rows %zu to %zu of a head of %zu", first, first + count,
                        head->v);
    for (size_t r = 0; r < count; r++) {
        float bias;
        head->kind->decode(rows + r * head->d, &bias, head, first + r);
        if (biases)
            biases[r] = bias;
    }
    return VQ_OK;
}

int vqi_head_find(size_t *place, const vq_head *head, uint32_t id)
{
    size_t low = 0, high = head->v;
    if (id < head->v && head->ids[id] == id) {
        *place = id;
        return 1;
    }
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (head->ids[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    *place = low;
    return low < head->v && head->ids[low] == id;
}
