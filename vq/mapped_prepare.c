/* SPDX-License-Identifier: Apache-2.0 */
/* What the search of a mapped codebook keeps: the basis as the filters read it, and the norms of the codewords. */
#include <math.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/mapped_internal.h"
#include "vq/memory_internal.h"
#include "vq/parallel_internal.h"
#include "vq/simvq_internal.h"

enum { PIECE = 64 }; /* codewords that a thread makes at once */

/* A trial of so many rows says whether a search is fast: if it leaves more than a lane in so many codewords open, to make
 * their basis rows takes a quarter of the time of the filter. */
enum { TRIAL_ROWS = 32, CODEWORDS_PER_LANE = 8192 };

static double square_of(const float *values, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)values[i] * (double)values[i];
    return sum;
}

/* |c - b|^2, in double. */
static double distance(const float *codeword, const float *bias, size_t d)
{
    double sum = 0;
    for (size_t j = 0; j < d; j++) {
        const double off = (double)codeword[j] - (double)(bias ? bias[j] : 0);
        sum += off * off;
    }
    return sum;
}

/* What the codewords are measured with. */
typedef struct workbench {
    vqi_ranked *places;
    float *transposed; /* W as d x r */
    float *rooms;      /* of the threads, room_floats() each */
    int threads;
} workbench;

static size_t room_floats(size_t r, size_t d)
{
    return PIECE * (r + d) + VQI_MAP_ROWS * (2 * r + d);
}

/* @return the largest |c - (b + q W)|^2 of some codewords, as q W is when it was added up in double and rounded. */
static double largest_error(const float *basis, const float *codewords, size_t count,
                            const vq_codebook *codebook, const vqi_float_ops *ops,
                            const float *transposed, float *room)
{
    const size_t r = codebook->d, d = codebook->mapped->d;
    const float *bias = codebook->mapped->bias;
    double *rows = (void *)room, most = 0;
    float *exact = room + VQI_MAP_ROWS * 2 * r;
    memset(rows, 0, VQI_MAP_ROWS * r * sizeof *rows);
    for (size_t j = 0; j < count; j += VQI_MAP_ROWS) {
        const size_t some = count - j < VQI_MAP_ROWS ? count - j : VQI_MAP_ROWS;
        for (size_t i = 0; i < some * r; i++)
            rows[i] = (double)basis[j * r + i];
        ops->map_rows(exact, rows, some, transposed, d, r);
        for (size_t n = 0; n < some; n++) {
            const float *c = codewords + (j + n) * d;
            double square = 0;
            for (size_t i = 0; i < d; i++) {
                const double own = (double)c[i] - (double)(bias ? bias[i] : 0),
                             error = own - (double)exact[n * d + i];
                square += error * error;
            }
            most = square > most ? square : most;
        }
    }
    return most;
}

/* Make each codeword once, to measure it: largest_norm, largest_element and codeword_error so far.
 * @return the first that is not finite, or K. */
static uint32_t measure(vq_codebook *codebook, const workbench *bench, const vqi_float_ops *ops)
{
    vqi_mapped *m = codebook->mapped;
    const size_t k = codebook->k, r = codebook->d, d = m->d, pieces = (k + PIECE - 1) / PIECE;
    uint32_t bad = codebook->k;
    double most = 0, error = 0;
    float element = 0;
#pragma omp parallel num_threads(bench->threads) reduction(min                                     \
                                                           : bad)                                  \
    reduction(max                                                                                  \
              : most, error, element)
    {
        float *basis = bench->rooms + (size_t)omp_get_thread_num() * room_floats(r, d),
              *codewords = basis + PIECE * r, *room = codewords + PIECE * d;
#pragma omp for schedule(static)
        for (size_t p = 0; p < pieces; p++) {
            const size_t first = p * PIECE, count = k - first < PIECE ? k - first : PIECE;
            vq_simvq_basis(basis, m->seed, (uint32_t)r, (uint32_t)first, count);
            vqi_simvq_rows(codewords, basis, count, m->map, m->bias, (uint32_t)r, (uint32_t)d);
            for (size_t i = 0; i < count * r; i++)
                element = fmaxf(element, fabsf(basis[i]));
            for (size_t j = 0; j < count; j++) {
                const uint32_t code = (uint32_t)(first + j);
                const double square = distance(codewords + j * d, m->bias, d);
                bench->places[code] =
                    (vqi_ranked){square_of(basis + j * r, r), (float)(-square / 2), code};
                most = square > most ? square : most;
                bad = !isfinite(square) && code < bad ? code : bad;
            }
            const double of_piece =
                largest_error(basis, codewords, count, codebook, ops, bench->transposed, room);
            error = of_piece > error ? of_piece : error;
        }
    }
    codebook->largest_norm = sqrt(most);
    codebook->largest_element = element;
    m->codeword_error = sqrt(error);
    return bad;
}

static vq_status find_places(vq_codebook *codebook)
{
    const vqi_mapped *m = codebook->mapped;
    const size_t k = codebook->k, r = codebook->d, d = m->d;
    workbench bench = {.threads = vqi_threads(0, (size_t)((double)k * (double)(r * d) / 2e6) + 1)};
    bench.places = vqi_alloc(k, sizeof *bench.places);
    bench.transposed = vqi_alloc(d, r * sizeof *bench.transposed);
    bench.rooms = vqi_alloc((size_t)bench.threads, room_floats(r, d) * sizeof *bench.rooms);
    vq_status status = VQ_OK;
    if (!bench.places || !bench.transposed || !bench.rooms)
        status = vqi_fail_nomem(k * sizeof *bench.places + (unsigned long long)r * d * 4);
    for (size_t i = 0; !status && i < r; i++)
        for (size_t j = 0; j < d; j++)
            bench.transposed[j * r + i] = m->map[i * d + j];
    if (!status) {
        const uint32_t bad =
            measure(codebook, &bench, vqi_nearest_kernels(codebook, VQI_BLOCK).ops);
        if (bad < k)
            status = vqi_fail(VQ_E_NONFINITE, "codeword %u holds a NaN or an infinity", bad);
    }
    if (!status) {
        vqi_codebook_set_places(codebook, bench.places);
        codebook->filter_norm = sqrt(bench.places[k - 1].square);
    }
    vqi_free(bench.places);
    vqi_free(bench.transposed);
    vqi_free(bench.rooms);
    return status;
}

/* The bounds of the map. @return 0 if they are worth nothing. */
static int find_bounds(vq_codebook *codebook)
{
    vqi_mapped *m = codebook->mapped;
    const double r = codebook->d, d = m->d;
    const double longest = codebook->filter_norm * (1 + 0x1p-20);
    m->map_norm = sqrt(square_of(m->map, (size_t)codebook->d * m->d)) * (1 + 0x1p-20);
    /* What was measured, and what rounding took from the q W that it was measured with. */
    const double measured = m->codeword_error * (1 + 0x1p-20);
    m->codeword_error = measured + 0x1p-24 * (1 + 0x1p-19) * (codebook->largest_norm + measured) +
                        2 * r * 0x1p-53 * longest * m->map_norm + sqrt(d) * 0x1p-149;
    return codebook->largest_norm <= VQI_LARGEST_NORM && r <= VQI_MOST_FILTERED &&
           d <= VQI_MOST_FILTERED;
}

static void fill_groups(vq_codebook *codebook)
{
    const size_t groups = codebook->padded_k / VQI_GROUP, r = codebook->d;
    const double work = (double)codebook->padded_k * (double)r;
    const int threads = vqi_threads(0, (size_t)(work / 4e5) + 1);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t g = 0; g < groups; g++)
        vqi_mapped_group(codebook->groups + g * VQI_GROUP * r, codebook, g);
}

static vq_status make_what_filters_read(vq_codebook *codebook)
{
    vq_status status = vqi_codebook_make_forms(codebook);
    /* What a coarse filter reads is enough: where that tells too little apart, groups are made when they are read. */
    if (status || vqi_nearest_kernels(codebook, VQI_BLOCK).coarse)
        return status;
    status = vqi_codebook_make_groups(codebook);
    if (!status)
        fill_groups(codebook);
    return status;
}

/* Means of two codewords, which lie where vectors may. @param room r + d floats. */
static void make_trial_rows(float *x, const vq_codebook *codebook, float *room)
{
    const vqi_mapped *m = codebook->mapped;
    const uint32_t k = codebook->k, r = codebook->d, d = m->d;
    for (size_t i = 0; i < TRIAL_ROWS; i++) {
        float *row = x + i * d;
        memset(row, 0, d * sizeof *row);
        for (size_t other = 0; other < 2; other++) {
            const size_t code = (i * k / TRIAL_ROWS + other * (i + 1) * 40503) % k;
            vq_simvq_basis(room, m->seed, r, (uint32_t)code, 1);
            vqi_simvq_rows(room + r, room, 1, m->map, m->bias, r, d);
            for (size_t j = 0; j < d; j++)
                row[j] += 0.5f * room[r + j];
        }
    }
}

/* The trial, of a filter. */
static vq_status find_out(int *fast, const vq_codebook *codebook, const vqi_kernels *kernels,
                          const vqi_filter *coarse)
{
    const size_t d = codebook->mapped->d, bytes = vqi_shortlist_scratch(codebook, TRIAL_ROWS, 1);
    float *x = vqi_alloc(TRIAL_ROWS + 1, (codebook->d + d) * sizeof *x);
    void *scratch = vqi_alloc(bytes, 1);
    vq_status status = VQ_OK;
    if (x && scratch) {
        make_trial_rows(x, codebook, x + TRIAL_ROWS * (codebook->d + d));
        vqi_shortlist *list =
            vqi_shortlist_begin(scratch, codebook, kernels, coarse, x, TRIAL_ROWS, 1);
        if (list) /* the rows are finite */
            vqi_shortlist_search(list, 0, codebook->padded_k / VQI_GROUP);
        *fast = list && vqi_shortlist_lanes(list) <=
                            TRIAL_ROWS * (2 + (size_t)codebook->k / CODEWORDS_PER_LANE);
    } else {
        status = vqi_fail_nomem(bytes);
    }
    vqi_free(x);
    vqi_free(scratch);
    return status;
}

static vq_status prepare(int *served, vq_codebook *codebook, int fast)
{
    vq_status status = vqi_codebook_make_room(codebook);
    *served = 0;
    if (!status)
        status = find_places(codebook);
    if (status || !find_bounds(codebook))
        return status;
    status = make_what_filters_read(codebook);
    if (status)
        return status;
    const vqi_kernels kernels = vqi_nearest_kernels(codebook, VQI_BLOCK);
    int is_fast = 0, finer_is = 0;
    status = find_out(&is_fast, codebook, &kernels, kernels.coarse);
    if (!status && !is_fast && kernels.finer)
        status = find_out(&finer_is, codebook, &kernels, kernels.finer);
    codebook->mapped->finer = finer_is;
    *served = is_fast || !fast;
    return status;
}

vq_status vqi_mapped_create(vq_codebook **out, const vq_simvq_form *form, const float *map,
                            const float *bias, int fast)
{
    *out = NULL;
    vq_codebook *codebook = vqi_calloc(1, sizeof *codebook);
    vqi_mapped *mapped = vqi_calloc(1, sizeof *mapped);
    if (!codebook || !mapped) {
        vqi_free(codebook);
        vqi_free(mapped);
        return vqi_fail_nomem(sizeof *codebook + sizeof *mapped);
    }
    *mapped = (vqi_mapped){.d = form->dim, .seed = form->seed, .map = map, .bias = bias};
    *codebook = (vq_codebook){.k = form->k,
                              .d = form->basis_dim,
                              .metric = VQ_METRIC_EUCLIDEAN,
                              .storage = VQ_DTYPE_F32,
                              .mapped = mapped};
    int served;
    const vq_status status = prepare(&served, codebook, fast);
    if (status || !served) {
        vq_codebook_free(codebook);
        return status;
    }
    *out = codebook;
    return VQ_OK;
}
