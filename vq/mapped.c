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

size_t vqi_mapped_room(const vq_codebook *codebook)
{
    const size_t r = codebook->d, d = codebook->mapped->d;
    const size_t group = VQI_GROUP * r, scan = MADE * (r + d); /* rows take 8 d of that */
    return ((group > scan ? group : scan) * sizeof(float) + 63) / 64 * 64;
}

/* x' of some rows, in double. @return 1 if every |x'|^2 is finite. */
static int centre(double *centred, float *row_square, const float *x, size_t rows,
                  const vqi_mapped *m)
{
    float bad = 0; /* 0 * finite is 0; 0 * NaN and 0 * infinity are NaN, which stays */
    for (size_t n = 0; n < rows; n++, x += m->d, centred += m->d) {
        double square = 0;
        for (size_t j = 0; j < m->d; j++) {
            const float t = m->bias ? x[j] - m->bias[j] : x[j];
            centred[j] = (double)t;
            square += centred[j] * centred[j];
        }
        row_square[n] = (float)square;
        bad += row_square[n] * 0.0f;
    }
    return bad == 0;
}

int vqi_mapped_rows(vqi_block *block, float *row_square, const float *x,
                    const vq_codebook *codebook, const vqi_float_ops *ops, float *room)
{
    const vqi_mapped *m = codebook->mapped;
    const size_t r = codebook->d, d = m->d;
    double *centred = (void *)room;
    int finite = 1;
    memset(centred, 0, VQI_MAP_ROWS * d * sizeof *centred);
    for (size_t n = 0; n < block->rows; n += VQI_MAP_ROWS) {
        const size_t rows = block->rows - n < VQI_MAP_ROWS ? block->rows - n : VQI_MAP_ROWS;
        finite &= centre(centred, row_square + n, x + n * d, rows, m);
        ops->map_rows(block->centred + n * r, centred, rows, m->map, r, d);
    }
    for (size_t n = 0; n < block->rows; n++) {
        double square = 0;
        for (size_t i = 0; i < r; i++) {
            const double y = (double)block->centred[n * r + i];
            square += y * y;
        }
        block->square[n] = (float)square;
    }
    memset(block->centred + block->rows * r, 0, VQI_LANES * sizeof *block->centred);
    return finite;
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
