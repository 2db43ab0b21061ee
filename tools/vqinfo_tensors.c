/* SPDX-License-Identifier: Apache-2.0 */
/* Files of arrays: safetensors, among them our models, and .npy. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/digest.h"
#include "io/npy.h"
#include "io/safetensors.h"
#include "rvq/multiscale.h"
#include "rvq/projected.h"
#include "rvq/split.h"
#include "vqinfo.h"

typedef struct range {
    double low, high, sum;
    uint64_t finite, other;
} range;

static vq_status measure(range *out, const vq_tensor *tensor)
{
    float chunk[1024];
    const size_t room = sizeof chunk / sizeof *chunk;
    *out = (range){.low = INFINITY, .high = -INFINITY};
    for (size_t i = 0; i < tensor->count; i += room) {
        const size_t n = tensor->count - i < room ? tensor->count - i : room;
        const vq_status status = vq_tensor_to_f32(chunk, tensor, i, n);
        if (status)
            return status;
        for (size_t j = 0; j < n; j++) {
            if (!isfinite(chunk[j])) {
                out->other++;
                continue;
            }
            const double value = (double)chunk[j];
            out->finite++;
            out->sum += value;
            out->low = value < out->low ? value : out->low;
            out->high = value > out->high ? value : out->high;
        }
    }
    return VQ_OK;
}

static void print_tensor(const vq_tensor *tensor, const range *r)
{
    char shape[160] = "";
    for (uint32_t i = 0; i < tensor->ndim; i++)
        snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%s%zu", i ? " x " : "",
                 tensor->shape[i]);
    printf("  %-10s %s  %s  %s", "tensor", tensor->name, vq_dtype_name(tensor->dtype),
           tensor->ndim ? shape : "one number");
    if (r && r->finite)
        printf("  from %g to %g, mean %g", r->low, r->high, r->sum / (double)r->finite);
    if (r && r->other)
        printf("  (%llu not finite)", (unsigned long long)r->other);
    putchar('\n');
}

vq_status vqinfo_tensor(const vqinfo_file *file, const vq_tensor *tensor, json_t *to)
{
    range r;
    const vq_status status = file->stats ? measure(&r, tensor) : VQ_OK;
    if (status)
        return status;
    if (!to) {
        print_tensor(tensor, file->stats ? &r : NULL);
        return VQ_OK;
    }
    json_t *shape = json_array();
    for (uint32_t i = 0; i < tensor->ndim; i++)
        json_array_append_new(shape, json_integer((json_int_t)tensor->shape[i]));
    json_object_set_new(to, "name", json_string(tensor->name));
    json_object_set_new(to, "dtype", json_string(vq_dtype_name(tensor->dtype)));
    json_object_set_new(to, "shape", shape);
    if (file->stats) {
        json_object_set_new(to, "min", cli_json_real(r.low));
        json_object_set_new(to, "max", cli_json_real(r.high));
        json_object_set_new(to, "mean", cli_json_real(r.sum / (double)r.finite));
        json_object_set_new(to, "not_finite", json_integer((json_int_t)r.other));
    }
    return VQ_OK;
}

/** What a safetensors file turns out to be. */
typedef struct model {
    vq_codec *codec;         /**< or NULL */
    vq_quantizer *quantizer; /**< owned, or NULL */
    vq_multiscale *multiscale;
    int checkpoint;
} model;

static vq_status find_model(model *out, const vqinfo_file *file, const vq_tensors *tensors)
{
    *out = (model){.checkpoint = vq_tensors_get(tensors, "checkpoint") != NULL};
    if (out->checkpoint)
        return vq_quantizer_load(&out->quantizer, tensors, "quantizer.", NULL);
    if (vq_tensors_get(tensors, "codec"))
        return vq_codec_open_memory(&out->codec, file->bytes.data, file->bytes.size, file->name,
                                    NULL);
    const char *kind = vq_tensors_get(tensors, "kind");
    if (kind && strcmp(kind, "multiscale") == 0)
        return vq_multiscale_load(&out->multiscale, tensors, "", NULL);
    if (kind)
        return vq_quantizer_load(&out->quantizer, tensors, "", NULL);
    return VQ_OK;
}

static uint32_t levels_of(uint32_t k[VQ_MAX_LEVELS], const vq_quantizer *quantizer)
{
    const uint32_t levels = vq_quantizer_levels(quantizer);
    for (uint32_t i = 0; i < levels; i++)
        k[i] = vq_quantizer_k(quantizer, i);
    return levels;
}

/* "projected (fsq)", "split (flat + residual)" */
static void describe_kind(char out[64], const vq_quantizer *q)
{
    const vq_quantizer *inner = vq_projected_inner(q);
    snprintf(out, 64, "%s", vq_quantizer_kind(q));
    if (inner)
        snprintf(out, 64, "%s (%s)", vq_quantizer_kind(q), vq_quantizer_kind(inner));
    if (vq_split_parts(q) == 2)
        snprintf(out, 64, "%s (%s + %s)", vq_quantizer_kind(q),
                 vq_quantizer_kind(vq_split_part(q, 0)), vq_quantizer_kind(vq_split_part(q, 1)));
}

static void tell_multiscale(const vqinfo_file *file, const vq_multiscale *m)
{
    const vq_multiscale_design *design = vq_multiscale_get_design(m);
    uint32_t k[VQ_MAX_LEVELS];
    char text[CLI_K_SIZE];
    json_t *sizes = json_array();
    for (uint32_t s = 0; s < design->scales; s++) {
        k[s] = vq_quantizer_k(vq_multiscale_quantizer(m, s), 0);
        json_array_append_new(sizes, json_pack("[I, I]", (json_int_t)design->sizes[2 * s],
                                               (json_int_t)design->sizes[2 * s + 1]));
    }
    if (file->json) {
        json_object_set_new(file->json, "quantizer",
                            json_pack("{ss s[I, I] sI so sO}", "kind", "multiscale", "grid",
                                      (json_int_t)design->rows, (json_int_t)design->columns,
                                      "dimension", (json_int_t)design->channels, "k",
                                      cli_json_levels(design->scales, k), "scales", sizes));
    } else {
        cli_describe_levels(text, design->scales, k);
        printf("  %-10s multiscale, %s, dimension %u, grid %u x %u, %zu tokens:", "quantizer", text,
               design->channels, design->rows, design->columns, vq_multiscale_tokens(m, 0));
        for (uint32_t s = 0; s < design->scales; s++)
            printf(" %ux%u", design->sizes[2 * s], design->sizes[2 * s + 1]);
        putchar('\n');
    }
    json_decref(sizes);
}

static void tell_model(const vqinfo_file *file, const model *m)
{
    vq_codec_info info = {0};
    if (m->codec)
        vq_codec_get_info(&info, m->codec);
    const vq_quantizer *quantizer = m->codec ? info.quantizer : m->quantizer;
    const char *what = m->codec                        ? "codec model"
                       : m->checkpoint                 ? "vqtrain checkpoint"
                       : m->quantizer || m->multiscale ? "quantizer"
                                                       : "safetensors";
    uint32_t k[VQ_MAX_LEVELS];
    const uint32_t levels = quantizer ? levels_of(k, quantizer) : 0;
    if (file->json) {
        json_object_set_new(file->json, "type", json_string(what));
        if (m->codec)
            json_object_set_new(file->json, "codec",
                                json_pack("{ss ss sI sI}", "name", info.name, "takes",
                                          vq_kind_name(info.kind), "levels",
                                          (json_int_t)info.levels, "default_levels",
                                          (json_int_t)info.default_levels));
        if (m->multiscale)
            tell_multiscale(file, m->multiscale);
        if (quantizer)
            json_object_set_new(file->json, "quantizer",
                                json_pack("{ss sI so}", "kind", vq_quantizer_kind(quantizer),
                                          "dimension", (json_int_t)vq_quantizer_dim(quantizer), "k",
                                          cli_json_levels(levels, k)));
        return;
    }
    printf("%s: %s", file->name, what);
    if (m->codec)
        printf(", %s codec, %u levels by default", info.name, info.default_levels);
    putchar('\n');
    if (m->multiscale)
        tell_multiscale(file, m->multiscale);
    if (quantizer) {
        char text[CLI_K_SIZE], kind[64];
        cli_describe_levels(text, levels, k);
        describe_kind(kind, quantizer);
        printf("  %-10s %s, %s, dimension %u\n", "quantizer", kind, text,
               vq_quantizer_dim(quantizer));
    }
}

static void tell_settings(const vqinfo_file *file, const vq_tensors *tensors)
{
    const char *key, *value;
    json_t *settings = file->json ? json_object() : NULL;
    const int room = file->verbose ? INT_MAX : 100;
    for (size_t i = 0; vq_tensors_setting_at(&key, &value, tensors, i) == VQ_OK; i++)
        if (settings)
            json_object_set_new(settings, key, json_string(value));
        else
            printf("  %-10s %s = %.*s%s\n", "setting", key, room, value,
                   strlen(value) > (size_t)room ? "..." : "");
    if (settings)
        json_object_set_new(file->json, "settings", settings);
}

static void tell_digest(const vqinfo_file *file)
{
    uint8_t digest[VQ_SHA256_SIZE];
    char sha[CLI_HEX_SIZE];
    vq_sha256(digest, file->bytes.data, file->bytes.size);
    cli_hex(sha, digest);
    const char *builtin = cli_builtin_of(digest);
    if (file->json) {
        json_object_set_new(file->json, "sha256", json_string(sha));
        json_object_set_new(file->json, "built_in", builtin ? json_string(builtin) : json_null());
    } else {
        printf("  %-10s %zu bytes, SHA-256 %s%s%s\n", "file", file->bytes.size, sha,
               builtin ? ", built in as " : "", builtin ? builtin : "");
    }
}

static vq_status tell_tensors(const vqinfo_file *file, const vq_tensors *tensors)
{
    json_t *array = file->json ? json_array() : NULL;
    vq_status status = VQ_OK;
    for (size_t i = 0; !status && i < vq_tensors_count(tensors); i++) {
        json_t *one = array ? json_object() : NULL;
        status = vqinfo_tensor(file, vq_tensors_at(tensors, i), one);
        if (array)
            json_array_append_new(array, one);
    }
    if (array)
        json_object_set_new(file->json, "tensors", array);
    return status;
}

/** Files of ours carry a checksum in their header, which the reader has verified. */
static int is_sealed(const vqinfo_file *file)
{
    static const char key[] = "\"libvq_sha256\"";
    const size_t length = sizeof key - 1;
    const uint8_t *bytes = file->bytes.data;
    size_t end = 8;
    for (int i = 7; i >= 0; i--) /* the reader has found the header to lie within the file */
        end += (size_t)bytes[i] << 8 * i;
    for (size_t i = 8; i + length <= end; i++)
        if (memcmp(bytes + i, key, length) == 0)
            return 1;
    return 0;
}

vq_status vqinfo_safetensors(const vqinfo_file *file)
{
    vq_tensors *tensors;
    model m = {0};
    vq_status status =
        vq_safetensors_parse(&tensors, file->bytes.data, file->bytes.size, file->name, NULL);
    if (status)
        return status;
    status = find_model(&m, file, tensors);
    if (!status) {
        tell_model(file, &m);
        tell_digest(file);
        tell_settings(file, tensors);
        status = tell_tensors(file, tensors);
    }
    if (!status && !file->json)
        printf("  %-10s yes: header, sizes and contents agree (%s)\n", "whole",
               is_sealed(file) ? "the checksum matches" : "this file has no checksum");
    vq_codec_free(m.codec);
    vq_quantizer_free(m.quantizer);
    vq_multiscale_free(m.multiscale);
    vq_tensors_free(tensors);
    return status;
}

vq_status vqinfo_npy(const vqinfo_file *file)
{
    vq_tensors *tensors;
    vq_status status = vq_npy_parse(&tensors, file->bytes.data, file->bytes.size, "array", NULL);
    if (status)
        return status;
    if (file->json)
        json_object_set_new(file->json, "type", json_string("npy"));
    else
        printf("%s: NumPy array, %zu bytes\n", file->name, file->bytes.size);
    status = vqinfo_tensor(file, vq_tensors_at(tensors, 0), file->json);
    if (!status && !file->json)
        printf("  %-10s yes: header and size agree (the format has no checksum)\n", "whole");
    vq_tensors_free(tensors);
    return status;
}
