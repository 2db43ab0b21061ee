/* SPDX-License-Identifier: Apache-2.0 */
/* What the search of a mapped codebook asks of its map: rows as the filters read them, and codewords when they are wanted. */
#include "vq/mapped_internal.h"

#include <math.h>
#include <string.h>

#include "vq/simvq_internal.h"

enum {
    MADE = 16,
    PART = 64
}; /* codewords that a scan makes at once, and elements of a basis row */

typedef double vec4d __attribute__((vector_size(32)));
typedef float vec4f __attribute__((vector_size(16)));
typedef float vec4f_unaligned __attribute__((vector_size(16), aligned(4), may_alias));

size_t vqi_mapped_room(const vq_codebook *codebook)
{
    const size_t r = codebook->d, d = codebook->mapped->d;
    const size_t group = VQI_GROUP * r, scan = MADE * (r + d); /* which is more than 4 r, and 2 d */
    return ((group > scan ? group : scan) * sizeof(float) + 63) / 64 * 64;
}

/* W_i x' in double, where the products are exact. */
static double product(const float *map, const double *x, size_t d)
{
    vec4d sums[2] = {{0}, {0}};
    size_t j = 0;
    for (; j + 8 <= d; j += 8)
        for (size_t h = 0; h < 2; h++) {
            const vec4f w = *(const vec4f_unaligned *)(map + j + 4 * h);
            vec4d v;
            memcpy(&v, x + j + 4 * h, sizeof v);
            sums[h] += __builtin_convertvector(w, vec4d) * v;
        }
    const vec4d both = sums[0] + sums[1];
    double sum = (both[0] + both[1]) + (both[2] + both[3]);
    for (; j < d; j++)
        sum += (double)map[j] * x[j];
    return sum;
}

int vqi_mapped_rows(vqi_block *block, float *row_square, const float *x,
                    const vq_codebook *codebook, float *room)
{
    const vqi_mapped *m = codebook->mapped;
    const size_t r = codebook->d, d = m->d;
    double *centred = (void *)room;
    float bad = 0;
    for (size_t n = 0; n < block->rows; n++, x += d) {
        double square = 0, own = 0;
        for (size_t j = 0; j < d; j++) {
            const float t = m->bias ? x[j] - m->bias[j] : x[j];
            centred[j] = (double)t;
            square += centred[j] * centred[j];
        }
        row_square[n] = (float)square;
        bad += row_square[n] * 0.0f;
        for (size_t i = 0; i < r; i++) {
            const float y = (float)product(m->map + i * d, centred, d);
            block->centred[n * r + i] = y;
            own += (double)y * (double)y;
        }
        block->square[n] = (float)own;
    }
    memset(block->centred + block->rows * r, 0, VQI_LANES * sizeof *block->centred);
    return bad == 0;
}

double vqi_mapped_error(const vq_codebook *codebook, double norm, double read)
{
    const vqi_mapped *m = codebook->mapped;
    const double r = codebook->d, d = m->d, longest = codebook->filter_norm * (1 + 0x1p-20);
    const double of_row =
        0x1p-24 * (1 + 0x1p-19) * read + 2 * d * 0x1p-53 * m->map_norm * norm + (r + 1) * 0x1p-149;
    return longest * of_row + norm * m->codeword_error;
}

/* Basis rows and codewords, one after the other. @return the codewords. */
static const float *make(float *room, const vq_codebook *codebook, uint32_t first, size_t count)
{
    const vqi_mapped *m = codebook->mapped;
    const uint32_t r = codebook->d;
    float *codewords = room + count * r;
    vq_simvq_basis(room, m->seed, r, first, count);
    vqi_simvq_rows(codewords, room, count, m->map, m->bias, r, m->d);
    return codewords;
}

void vqi_mapped_group(float *room, const vq_codebook *codebook, size_t group)
{
    const uint32_t r = codebook->d;
    float part[PART];
    for (size_t j = 0; j < VQI_GROUP; j++) {
        const size_t p = group * VQI_GROUP + j;
        const int exists = codebook->start[p] > -INFINITY; /* or it was added */
        for (uint32_t from = 0; from < r; from += PART) {
            const uint32_t some = r - from < PART ? r - from : PART;
            vqi_simvq_basis_part(part, codebook->mapped->seed, r, codebook->order[p], from, some);
            for (uint32_t i = 0; i < some; i++)
                room[(size_t)(from + i) * VQI_GROUP + j] = exists ? part[i] : 0;
        }
    }
}

void vqi_mapped_score_lanes(float (*scores)[4], const vqi_lane *lanes, size_t count,
                            const vqi_block *block, const vq_codebook *codebook,
                            const vqi_contract *contract, float *room)
{
    const uint32_t r = codebook->d;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < 4; j++)
            vq_simvq_basis(room + j * r, codebook->mapped->seed, r,
                           codebook->order[lanes[i].place + j * VQI_LANES], 1);
        contract->dots(scores[i], block->centred + (size_t)lanes[i].row * r, room, 4, r);
        for (size_t j = 0; j < 4; j++) /* a place that was added starts, and ends, at -infinity */
            scores[i][j] += codebook->start[lanes[i].place + j * VQI_LANES];
    }
}

float vqi_mapped_score(const vq_codebook *codebook, const vqi_contract *contract, const float *x,
                       uint32_t code, float *room)
{
    float score;
    contract->distances(&score, x, make(room, codebook, code, 1), 1, codebook->mapped->d);
    return score;
}

void vqi_mapped_scan(uint32_t *codes, float *scores, const vq_codebook *codebook,
                     const vqi_contract *contract, const float *x, const uint32_t *rows,
                     size_t count, uint32_t wanted, float *best, float *room)
{
    const size_t d = codebook->mapped->d;
    uint32_t found[VQI_BLOCK] = {0};
    for (uint32_t first = 0; first < codebook->k; first += MADE) {
        const uint32_t some = codebook->k - first < MADE ? codebook->k - first : MADE;
        const float *codewords = make(room, codebook, first, some);
        for (size_t n = 0; n < count; n++) {
            float batch[MADE];
            contract->distances(batch, x + rows[n] * d, codewords, some, d);
            for (uint32_t i = 0; i < some; i++)
                vqi_nearest_note(codes + (size_t)rows[n] * wanted, best + n * wanted, &found[n],
                                 wanted, first + i, batch[i]);
        }
    }
    for (size_t n = 0; scores && n < count; n++)
        for (size_t i = 0; i < wanted; i++) {
            const size_t at = (size_t)rows[n] * wanted + i;
            scores[at] = vqi_mapped_score(codebook, contract, x + rows[n] * d, codes[at], room);
        }
}
