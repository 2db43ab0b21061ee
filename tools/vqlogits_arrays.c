/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays that the command line of vqlogits names, and heads. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/npy.h"
#include "io/safetensors.h"
#include "vqlogits.h"

/* What output layers are called, the last resort being the embeddings that they are tied to. */
static const char *const usual[] = {"lm_head.weight",         "output.weight",
                                    "embed_out.weight",       "model.embed_tokens.weight",
                                    "transformer.wte.weight", "wte.weight"};

vq_limits vqlogits_limits(void)
{
    vq_limits limits = VQ_LIMITS_INIT;
    limits.max_file_bytes = UINT64_C(1) << 36;
    limits.max_alloc_bytes = UINT64_C(1) << 34;
    limits.max_dim = 1U << 16;
    limits.max_codewords = 1U << 22;
    return limits;
}

/* FILE:NAME is a file and a name, unless there is a file of that whole name. */
static void split(char **path, const char **name, const char *spec)
{
    const char *colon = strrchr(spec, ':');
    *name = NULL;
    if (!colon || !access(spec, F_OK)) {
        *path = cli_copy(spec);
        return;
    }
    *path = cli_format("%.*s", (int)(colon - spec), spec);
    *name = colon + 1;
}

static int is_npy(const char *path)
{
    char first[6];
    FILE *file = fopen(path, "rb");
    const int is = file && fread(first, 1, 6, file) == 6 && !memcmp(first, "\x93NUMPY", 6);
    if (file)
        fclose(file);
    return is;
}

static int suits(const vq_tensor *tensor, uint32_t ndim)
{
    if (tensor->ndim != ndim || tensor->dtype == VQ_DTYPE_BOOL)
        return 0;
    return ndim == 1 || tensor->dtype == VQ_DTYPE_F32 || tensor->dtype == VQ_DTYPE_F16 ||
           tensor->dtype == VQ_DTYPE_BF16;
}

static const char *form(uint32_t ndim)
{
    return ndim == 1 ? "row of numbers" : "matrix of F32, F16 or BF16";
}

/* The one that was meant without its name. */
static const vq_tensor *guess(const cli_common *common, const vqlogits_array *a, const char *what,
                              uint32_t ndim)
{
    const vq_tensor *found = NULL;
    size_t count = 0;
    for (size_t i = 0; i < vq_tensors_count(a->file); i++)
        if (suits(vq_tensors_at(a->file, i), ndim)) {
            found = vq_tensors_at(a->file, i);
            count++;
        }
    for (size_t i = 0; ndim == 2 && count > 1 && i < sizeof usual / sizeof *usual; i++) {
        const vq_tensor *one = vq_tensors_find(a->file, usual[i]);
        if (one && suits(one, ndim))
            return one;
    }
    if (count == 1)
        return found;
    if (count)
        cli_fault(common, a->path,
                  "holds %zu arrays that could be the %s (name one, %s:NAME; vqinfo lists them)",
                  count, what, a->path);
    else
        cli_fault(common, a->path, "holds no %s for the %s", form(ndim), what);
    return NULL;
}

int vqlogits_array_open(vqlogits_array *out, const cli_common *common, const char *spec,
                        const char *what, uint32_t ndim)
{
    const char *name;
    const vq_limits limits = vqlogits_limits();
    *out = (vqlogits_array){0};
    split(&out->path, &name, spec);
    const int npy = is_npy(out->path);
    if (npy && name)
        return cli_fault(common, out->path, "has one array, without a name (leave out :%s)", name);
    const vq_status status = npy ? vq_npy_read(&out->file, out->path, "array", &limits)
                                 : vq_safetensors_read(&out->file, out->path, &limits);
    if (status)
        return cli_fail(common, out->path, status);
    const vq_tensor *found =
        name ? vq_tensors_find(out->file, name) : guess(common, out, what, ndim);
    if (!found)
        return name
                   ? cli_fault(common, out->path, "holds no array \"%s\" (vqinfo lists them)", name)
                   : CLI_FAILED;
    if (!suits(found, ndim))
        return cli_fault(common, out->path, "\"%s\" is %s of %u dimensions, not a %s for the %s",
                         found->name, vq_dtype_name(found->dtype), found->ndim, form(ndim), what);
    if (!found->count)
        return cli_fault(common, out->path, "\"%s\" is empty", found->name);
    out->tensor = *found;
    return CLI_DONE;
}

void vqlogits_array_clear(vqlogits_array *array)
{
    vq_tensors_free(array->file);
    free(array->path);
    *array = (vqlogits_array){0};
}

int vqlogits_read_range(const cli_common *common, const char *option, const char *text,
                        vqlogits_range *out)
{
    const char *colon = strchr(text, ':');
    char *from = colon ? cli_format("%.*s", (int)(colon - text), text) : NULL;
    int code = CLI_DONE;
    *out = (vqlogits_range){0};
    if (!colon)
        return cli_usage(common, "--%s: '%s' is not FROM:TO", option, text);
    if (*from)
        code = cli_read_uint(common, option, from, 0, UINT64_C(1) << 48, &out->from);
    if (!code && colon[1])
        code = cli_read_uint(common, option, colon + 1, 1, UINT64_C(1) << 48, &out->to);
    free(from);
    if (!code && out->to && out->to <= out->from)
        code = cli_usage(common, "--%s: '%s' is empty", option, text);
    return code;
}

int vqlogits_array_cut(vqlogits_array *array, const cli_common *common, vqlogits_range range)
{
    vq_tensor *t = &array->tensor;
    const size_t rows = t->shape[0], width = rows ? t->count / rows : 0;
    const uint64_t to = range.to ? range.to : rows;
    if (range.from >= rows || to > rows)
        return cli_fault(common, array->path, "\"%s\" has %zu rows, not those from %llu to %llu",
                         t->name, rows, (unsigned long long)range.from, (unsigned long long)to);
    t->data = (char *)t->data + range.from * width * vq_dtype_size(t->dtype);
    t->shape[0] = (size_t)(to - range.from);
    t->count = t->shape[0] * width;
    return CLI_DONE;
}

int vqlogits_floats(float **out, const cli_common *common, const vqlogits_array *array)
{
    *out = cli_need(malloc((array->tensor.count + 1) * sizeof **out));
    const vq_status status = vq_tensor_to_f32(*out, &array->tensor, 0, array->tensor.count);
    return status ? cli_fail(common, array->path, status) : CLI_DONE;
}

/* Element i of integers; -1 if it is none, negative or beyond 32 bits. */
static int64_t whole(const vq_tensor *t, size_t i)
{
    uint64_t value = UINT64_MAX;
    const uint8_t *at = (const uint8_t *)t->data + i * vq_dtype_size(t->dtype);
    switch (t->dtype) {
    case VQ_DTYPE_U8:
        return *at;
    case VQ_DTYPE_U16:
        return *(const uint16_t *)(const void *)at;
    case VQ_DTYPE_I16:
        return *(const int16_t *)(const void *)at;
    case VQ_DTYPE_U32:
        return *(const uint32_t *)(const void *)at;
    case VQ_DTYPE_I32:
        return *(const int32_t *)(const void *)at;
    case VQ_DTYPE_U64:
    case VQ_DTYPE_I64:
        memcpy(&value, at, sizeof value);
        return value > UINT32_MAX ? -1 : (int64_t)value;
    default:
        return -1;
    }
}

int vqlogits_ids(uint32_t **out, const cli_common *common, const vqlogits_array *array,
                 const char *what)
{
    const vq_tensor *t = &array->tensor;
    *out = cli_need(malloc((t->count + 1) * sizeof **out));
    for (size_t i = 0; i < t->count; i++) {
        const int64_t value = whole(t, i);
        if (value < 0)
            return cli_fault(common, array->path,
                             "\"%s\" is %s, and number %zu is no id of a token (%s)", t->name,
                             vq_dtype_name(t->dtype), i, what);
        (*out)[i] = (uint32_t)value;
    }
    return CLI_DONE;
}

int vqlogits_head_open(vq_head **out, const cli_common *common, const char *path)
{
    const vq_limits limits = vqlogits_limits();
    vq_tensors *file;
    vq_status status = vq_safetensors_read(&file, path, &limits);
    if (status)
        return cli_fail(common, cli_input_name(path), status);
    status = vq_head_load(out, file, "", &limits);
    vq_tensors_free(file);
    return status ? cli_fail(common, cli_input_name(path), status) : CLI_DONE;
}
