/* SPDX-License-Identifier: Apache-2.0 */
/* The coarse forms of a codebook, which integer and bfloat16 filters read, and what their bounds need. */
#include <math.h>
#include <string.h>

#include "vq/cpu_internal.h"
#include "vq/error_internal.h"
#include "vq/mapped_internal.h"
#include "vq/memory_internal.h"
#include "vq/nearest_internal.h"
#include "vq/parallel_internal.h"
#include "vq/tensors.h"

/* Elements that are worth a thread. */
enum { PER_THREAD = 1 << 18 };

/* What a form makes of a codeword, or the largest of several. */
typedef struct reading {
    double square, plain, norm; /* sum e^2 w, |e|^2, |c'|^2 as it is read */
} reading;

/* The weight of a dimension is its root mean square, in units of the largest, and not below 1/1024. */
static void find_weights(vq_codebook *codebook)
{
    const size_t d = codebook->d, groups = codebook->padded_k / VQI_GROUP;
    double most = 0;
    for (size_t i = 0; i < d; i++) {
        double square = 0;
        for (size_t g = 0; g < groups; g++)
            for (size_t j = 0; j < VQI_GROUP; j++) {
                const double value = codebook->groups[(g * d + i) * VQI_GROUP + j];
                square += value * value;
            }
        codebook->weight[i] = (float)sqrt(square);
        most = fmax(most, sqrt(square));
    }
    for (size_t i = 0; i < d; i++) {
        const double share = most > 0 ? codebook->weight[i] / most : 1;
        codebook->weight[i] = (float)fmin(fmax(share, 0x1p-10), 1);
        codebook->inverse_weight[i] = 1 / codebook->weight[i];
    }
    for (size_t p = 0; p < codebook->padded_k; p++) {
        const float *first = codebook->groups + p / VQI_GROUP * d * VQI_GROUP + p % VQI_GROUP;
        double square = 0;
        for (size_t i = 0; i < d; i++) {
            const double value = first[i * VQI_GROUP];
            square += value * value * codebook->inverse_weight[i];
        }
        float *norm = &codebook->group_norm[p / VQI_GROUP];
        *norm = fmaxf(*norm, (float)(sqrt(square) * (1 + 0x1p-20)));
    }
}

/* The same of a basis, whose dimensions are all alike; its norms are known. */
static void set_weights(vq_codebook *codebook)
{
    for (size_t i = 0; i < codebook->d; i++)
        codebook->weight[i] = codebook->inverse_weight[i] = 1;
}

static void note_element(reading *codeword, const vq_codebook *codebook, size_t i, float value,
                         double read)
{
    const double error = value - read;
    codeword->square += error * error * codebook->weight[i];
    codeword->plain += error * error;
    codeword->norm += read * read;
}

static void note_codeword(reading *most, reading codeword)
{
    most->square = fmax(most->square, codeword.square);
    most->plain = fmax(most->plain, codeword.plain);
    most->norm = fmax(most->norm, codeword.norm);
}

/* Of 32 bits, which hold several elements. */
static size_t integer_lanes(const vq_codebook *codebook, size_t width)
{
    const size_t share = 4 / width;
    return (codebook->d + share - 1) / share;
}

static void fill_integers(reading *most, vq_codebook *codebook, vqi_form form, size_t g,
                          const float *group)
{
    const size_t d = codebook->d, width = form == VQI_BYTES ? 1 : 2, share = 4 / width,
                 lanes = integer_lanes(codebook, width);
    const float range = width == 1 ? 127 : 32766, step = codebook->coarse[form].step,
                steps = step > 0 ? 1 / step : 0;
    uint8_t *data = (uint8_t *)codebook->coarse[form].data + g * lanes * VQI_GROUP * 4;
    for (size_t j = 0; j < VQI_GROUP; j++) {
        uint8_t *out = data + j * 4;
        reading codeword = {0};
        for (size_t i = 0; i < lanes * share; i++) {
            const float value = i < d ? group[i * VQI_GROUP + j] : 0;
            /* To the nearest whole number: at this size float32 has no other. */
            const float rounded = value * steps + 0x1.8p23f - 0x1.8p23f;
            const float q = rounded > range ? range : rounded < -range ? -range : rounded;
            if (i < d)
                note_element(&codeword, codebook, i, value, (double)step * q);
            uint8_t *at = out + (i / share * VQI_GROUP * share + i % share) * width;
            const int word = (int)q;
            if (width == 1)
                *at = (uint8_t)(word + 128);
            else
                memcpy(at, &(int16_t){(int16_t)word}, sizeof(int16_t));
        }
        note_codeword(most, codeword);
    }
}

enum { DEPTH = 32, TILE = DEPTH * VQI_LANES };

static size_t tile_steps(const vq_codebook *codebook)
{
    return (codebook->d + DEPTH - 1) / DEPTH;
}

static void fill_halves(reading *most, vq_codebook *codebook, size_t g, const float *group)
{
    const size_t d = codebook->d, steps = tile_steps(codebook);
    uint16_t *tiles = (uint16_t *)codebook->coarse[VQI_HALVES].data + g * steps * 4 * TILE;
    for (size_t j = 0; j < VQI_GROUP; j++) {
        const size_t panel = j / VQI_LANES, lane = j % VQI_LANES;
        reading codeword = {0};
        for (size_t i = 0; i < steps * DEPTH; i++) {
            const float value = i < d ? group[i * VQI_GROUP + j] : 0;
            const uint16_t half = vq_f32_to_bf16(value);
            if (i < d)
                note_element(&codeword, codebook, i, value, vq_bf16_to_f32(half));
            tiles[((i / DEPTH * 4 + panel) * VQI_LANES + i % DEPTH / 2) * DEPTH + lane * 2 +
                  i % 2] = half;
        }
        note_codeword(most, codeword);
    }
}

/* What 1 stands for. */
static float step_of(const vq_codebook *codebook, vqi_form form)
{
    /* Sums of products of words have 32 bits: no codeword may be longer than 32766. */
    const float range = form == VQI_BYTES ? 127 : 32766,
                longest = form == VQI_BYTES ? codebook->largest_element
                                            : (float)(codebook->filter_norm * (1 + 0x1p-20));
    return codebook->largest_element > 0x1p-100f ? longest / range : 0;
}

static void fill_form(vq_codebook *codebook, vqi_form form, float *rooms, int threads)
{
    vqi_coarse *coarse = &codebook->coarse[form];
    const size_t groups = codebook->padded_k / VQI_GROUP, each = VQI_GROUP * (size_t)codebook->d;
    double plain = 0, norm = 0;
    coarse->step = form == VQI_HALVES ? 0 : step_of(codebook, form);
#pragma omp parallel num_threads(threads) reduction(max : plain, norm)
    {
        float *room = rooms ? rooms + (size_t)omp_get_thread_num() * each : NULL;
#pragma omp for schedule(static)
        for (size_t g = 0; g < groups; g++) {
            const float *group = rooms ? room : codebook->groups + g * each;
            reading most = {0};
            if (rooms)
                vqi_mapped_group(room, codebook, g);
            if (form == VQI_HALVES)
                fill_halves(&most, codebook, g, group);
            else
                fill_integers(&most, codebook, form, g, group);
            coarse->group_error[g] = (float)(sqrt(most.square) * (1 + 0x1p-20));
            plain = fmax(plain, most.plain);
            norm = fmax(norm, most.norm);
        }
    }
    for (size_t g = 0; g < groups; g++)
        coarse->widest_error = fmaxf(coarse->widest_error, coarse->group_error[g]);
    coarse->error = sqrt(plain) * (1 + 0x1p-20);
    codebook->coarse_norm = fmax(codebook->coarse_norm, sqrt(norm) * (1 + 0x1p-20));
}

static vq_status make_form(vq_codebook *codebook, vqi_form form)
{
    vqi_coarse *coarse = &codebook->coarse[form];
    const size_t groups = codebook->padded_k / VQI_GROUP, each = VQI_GROUP * (size_t)codebook->d;
    const size_t bytes = form == VQI_HALVES  ? tile_steps(codebook) * DEPTH * sizeof(uint16_t)
                         : form == VQI_BYTES ? integer_lanes(codebook, 1) * 4
                                             : integer_lanes(codebook, 2) * 4; /* of a codeword */
    const int threads = vqi_threads(0, groups * each / PER_THREAD + 1);
    float *rooms = codebook->groups ? NULL : vqi_alloc((size_t)threads * each, sizeof *rooms);
    coarse->data = vqi_alloc(codebook->padded_k, bytes);
    coarse->group_error = vqi_calloc(groups, sizeof(float));
    if (!coarse->data || !coarse->group_error || !(rooms || codebook->groups)) {
        vqi_free(rooms);
        return vqi_fail_nomem((unsigned long long)codebook->padded_k * bytes);
    }
    fill_form(codebook, form, rooms, threads);
    vqi_free(rooms);
    return VQ_OK;
}

vq_status vqi_codebook_make_forms(vq_codebook *codebook)
{
    const uint32_t flags = vqi_cpu_all_flags();
    const size_t d = codebook->d, groups = codebook->padded_k / VQI_GROUP;
    if (!(codebook->largest_norm <= VQI_LARGEST_NORM) || !(flags & (VQ_CPU_AVX2 | VQ_CPU_AMX)))
        return VQ_OK;
    codebook->weight = vqi_alloc(d, sizeof(float));
    codebook->inverse_weight = vqi_alloc(d, sizeof(float));
    if (!codebook->weight || !codebook->inverse_weight)
        return vqi_fail_nomem(2 * d * sizeof(float));
    if (codebook->mapped) {
        set_weights(codebook);
    } else {
        find_weights(codebook);
        float most = 0; /* no fmaxf(), which is a call */
        for (size_t i = 0; i < codebook->padded_k * d; i++) {
            const float size = fabsf(codebook->groups[i]);
            most = size > most ? size : most;
        }
        codebook->largest_element = most;
    }
    for (size_t g = 0; g < groups; g++)
        codebook->widest_norm = fmaxf(codebook->widest_norm, codebook->group_norm[g]);
    vq_status status = VQ_OK;
    if (flags & VQ_CPU_VNNI && d <= VQI_MOST_INTEGER)
        status = make_form(codebook, VQI_BYTES);
    if (!status && flags & VQ_CPU_AVX2 && d <= VQI_MOST_INTEGER)
        status = make_form(codebook, VQI_WORDS);
    if (!status && flags & VQ_CPU_AMX)
        status = make_form(codebook, VQI_HALVES);
    return status;
}
