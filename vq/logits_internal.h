/* SPDX-License-Identifier: Apache-2.0 */
/** @file vq/logits_internal.h  What a head holds, and what the files of vq/logits*.c share. */
#ifndef VQ_LOGITS_INTERNAL_H
#define VQ_LOGITS_INTERNAL_H

#include <math.h>

#include "vq/logits.h"

enum {
    VQI_STATES = 16,      /* that the head is read once for */
    VQI_HEAD_BLOCK = 256, /* rows between two looks at their logits */
    VQI_PAD = 8,          /* partial sums of a logit */
    VQI_TABLE = 256,      /* codewords of an rvq level, at most */
    VQI_ROWS = 16,        /* whose codes lie together */
    VQI_MAX_LEVELS = 4096,
    VQI_MAX_TOKENS = 1 << 28,
    VQI_MAX_DIM = 1 << 20
};

static inline size_t vqi_padded(size_t d)
{
    return (d + VQI_PAD - 1) / VQI_PAD * VQI_PAD;
}

/** A matrix as it is stored, with what goes with its rows. Zeroed = empty. */
typedef struct vqi_rows {
    size_t n;
    uint32_t d;
    vq_dtype dtype;  /* F32, F16, BF16, I8 */
    void *data;      /* n x d */
    float *scale;    /* n, of int8; else NULL */
    float *bias;     /* n or NULL */
    double largest;  /* not below any |row| */
    float most_bias; /* largest |bias| */
} vqi_rows;

void vqi_rows_clear(vqi_rows *rows);
/** Room for n x d. @return VQ_OK, VQ_E_NOMEM; cleared on failure. */
vq_status vqi_rows_allocate(vqi_rows *rows, size_t n, uint32_t d, vq_dtype dtype);
/** Store one row, rounded. @return 0 if it is not finite, or not any more. */
int vqi_rows_set(vqi_rows *rows, size_t row, const float *x);
/** As float32. */
void vqi_rows_get(float *x, const vqi_rows *rows, size_t row);
/** Fill in `largest` and `most_bias`, when all rows are set. */
void vqi_rows_measure(vqi_rows *rows, int threads);
/** Store rows of a tensor of V x d: row r is the tensor's row order[r]; NULL = r. @return VQ_OK, VQ_E_NONFINITE, VQ_E_NOMEM. */
vq_status vqi_rows_fill(vqi_rows *rows, const vq_tensor *tensor, const uint32_t *order,
                        int threads);
/** Bytes of one row with its scale and bias. */
static inline size_t vqi_row_bytes(const vqi_rows *rows)
{
    return rows->d * vq_dtype_size(rows->dtype) + (rows->scale ? sizeof(float) : 0) +
           (rows->bias ? sizeof(float) : 0);
}

/** The contract of vq/logits.h; every set gives the same bits. d8 is d rounded up to a multiple of 8. */
typedef struct vqi_logit_kernels {
    /* out[r] = the logit of row first + r with the state h (d8 floats, zeros after d). */
    void (*one)(float *out, const vqi_rows *rows, size_t first, size_t count, const float *h);
    /* out[s x VQI_HEAD_BLOCK + r], count at most VQI_HEAD_BLOCK, of 16 states, h[i x 16 + s], d8 x 16. */
    void (*many)(float *out, const vqi_rows *rows, size_t first, size_t count, const float *h);
    /* out[r] of `count` rows, up to whole blocks of VQI_ROWS: the sum over the levels, in rising order, begun at +0, of
     * tables[m x VQI_TABLE + code]; codes: blocks x levels x VQI_ROWS. */
    void (*look_up)(float *out, const uint8_t *codes, size_t count, size_t levels,
                    const float *tables);
} vqi_logit_kernels;

extern const vqi_logit_kernels vqi_logit_portable;
#if defined(__x86_64__)
extern const vqi_logit_kernels vqi_logit_avx2, vqi_logit_avx512;
#endif
const vqi_logit_kernels *vqi_logit_kernels_now(void);

/** How the modes differ. */
typedef struct vqi_head_kind vqi_head_kind;

struct vq_head {
    const vqi_head_kind *kind;
    uint32_t d;
    size_t v;
    uint32_t *ids; /* v, rising */
    vqi_rows rows; /* dense: in the order of the ids; rerank: group by group */
    /* Tied and rerank: tokens in groups, those of a code each and then, in a rerank head, those that are always scored. */
    vqi_rows codes; /* k; rerank: the bias is the offset of the estimate */
    uint32_t k, groups, probes;
    uint32_t *first;  /* groups + 1: where a group begins */
    uint32_t *tokens; /* v, group by group: the place of the token in the order of the ids */
    uint32_t *at;     /* v, by place: where it is in `tokens` */
    float
        *spread; /* rerank: k, half the variance along a direction; NULL = the offsets are fitted */
    float *token_bias; /* tied: v, group by group, falling in each */
    float *code_mass;  /* tied: k, log sum exp(token_bias) */
    /* rvq: rows has the biases only */
    uint32_t levels;
    vqi_rows *books;      /* levels, F32 */
    uint32_t *book_first; /* levels: the first dimension of each */
    uint8_t *row_codes;   /* blocks of VQI_ROWS rows in the order of the ids, x levels x VQI_ROWS */
    uint32_t code_count;  /* of all levels */
    uint64_t book_bytes;
    double largest; /* no logit, nor a part of one, is above largest x |h| + most_bias */
    float most_bias;
};

/** A candidate. */
typedef struct vqi_token {
    float logit;
    uint32_t id;
} vqi_token;

static inline int vqi_token_before(vqi_token a, vqi_token b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

/** The best tokens so far: a heap whose root is the worst of them. */
typedef struct vqi_best {
    vqi_token *heap; /* room for `most` */
    size_t count, most;
} vqi_best;

void vqi_best_add(vqi_best *best, vqi_token token);
/** Add logits[i] of ids[places[i]], or of ids[i] if places is NULL. */
void vqi_best_add_all(vqi_best *best, const float *logits, const uint32_t *ids,
                      const uint32_t *places, size_t count);
/** Into rank order, best first; no longer a heap. */
void vqi_best_sort(vqi_best *best);

/** exp(largest) x sum is a sum of exponentials; zeroed with largest = -infinity it is 0. */
typedef struct vqi_mass {
    float largest;
    double sum;
} vqi_mass;

#define VQI_NO_MASS ((vqi_mass){-INFINITY, 0})

/** The sum of exp(x[i] x scale) in a fixed order. */
vqi_mass vqi_mass_of(const float *x, size_t count, float scale);
void vqi_mass_add(vqi_mass *mass, vqi_mass more);
/** The first i at which the sum of exp(x[0 .. i] x scale) is above that of all x u; the last one if none is. */
size_t vqi_mass_pick(const float *x, size_t count, float scale, double u);
static inline double vqi_mass_log(vqi_mass mass)
{
    return mass.largest + log(mass.sum);
}

/** A call: what the caller gave, checked, and the pieces of its workspace. */
typedef struct vqi_head_call {
    const vq_head *head;
    const vqi_logit_kernels *kernels;
    const float *states;
    size_t n, stride, count;
    int threads;
    uint32_t probes;
    void *allocated;
    vq_head_report report;
    /* Shared by the threads, for up to 16 states. */
    float *h;         /* states, each d8 */
    float *packed;    /* d8 x 16, of more than a few states */
    vqi_mass *masses; /* blocks x 16: of each block of rows */
    /* Tied and rerank, of each state. */
    float *scores;    /* 16 x K, by the codewords */
    float *scaled;    /* tied: 16 x K, logarithms of the codes' masses */
    float *code_mass; /* tied: K, at mass_scale */
    float mass_scale;
    vqi_token *picks;     /* rerank: 16 x K, the clusters that are scored; the id is the cluster */
    vqi_mass *group_mass; /* rerank: 16 x (K + 1), of the picks, then of the last group */
    uint32_t picked[VQI_STATES];
    float *tables; /* rvq: 16 x levels x VQI_TABLE, the products of the codewords */
    float *slices; /* rvq: d8 for each thread */
    /* Of each thread. */
    float *tiles;     /* 16 x VQI_HEAD_BLOCK */
    vqi_token *heaps; /* 16 x count */
    vqi_best *best;   /* 16; the first thread's are the result */
} vqi_head_call;

/**
 * Check, and find or allocate a workspace.
 * @param count as in vq_head_workspace(). @return VQ_OK, VQ_E_ARG, VQ_E_NOMEM; vqi_head_end() in any case.
 */
vq_status vqi_head_begin(vqi_head_call *call, const vq_head *head, const float *states, size_t n,
                         size_t count, const vq_head_call *opts);
/** Free what was allocated and, unless `report` is NULL, tell what was read. */
void vqi_head_end(vqi_head_call *call, vq_head_report *report);
/** @return how many states to take at once from `first` on: 16, or one of them where as many ranks would need much memory. */
size_t vqi_head_group(const vqi_head_call *call, size_t first);
/** Take up to 16 states from `first` on. @return VQ_OK, VQ_E_NONFINITE. */
vq_status vqi_head_take(vqi_head_call *call, size_t first, size_t count);

void vqi_best_clear(vqi_head_call *call);
/** What all threads found to the first one's, sorted. */
void vqi_best_gather(vqi_head_call *call, size_t states);

/** What a pass over all rows of a matrix is for; what is NULL is not wanted. */
typedef struct vqi_pass {
    const vqi_rows *rows;
    float *logits;       /* states x n */
    const uint32_t *to;  /* n places of the logits; NULL = in order */
    int looked_up;       /* 1 = an rvq head: by call->tables; `rows` tells how many */
    const uint32_t *ids; /* of the rows: find the best, call->best */
    vqi_mass *mass;      /* states; also of the blocks, call->masses */
    float scale;         /* of the logits in a mass */
} vqi_pass;

void vqi_head_pass(vqi_head_call *call, const vqi_pass *pass, size_t states);

/**
 * After a pass over n rows with masses: the block at u of the cumulated mass. @return the place in the block, from 0 to below 1.
 */
double vqi_head_pick_block(size_t *block, const vqi_head_call *call, size_t state, size_t n,
                           double u, vqi_mass mass);

/** What the modes do for up to 16 states that the call has taken; each counts what it reads in call->report. */
struct vqi_head_kind {
    vq_head_mode mode;
    /* All logits by the decoded matrix, states x v, and their masses (may be NULL). */
    void (*all)(float *logits, vqi_mass *mass, vqi_head_call *call, size_t states);
    /* The best call->count, sorted, in call->best, unless that is 0; and the mass of everything, of logits x scale. */
    void (*rank)(vqi_mass *mass, vqi_head_call *call, size_t states, float scale);
    /* The exact logit of the token at a place in the order of the ids. */
    float (*score)(vqi_head_call *call, size_t state, size_t place);
    /* Its log-probability after rank() with scale 1; NULL = the logit less that of the mass. */
    double (*log_prob)(vqi_head_call *call, size_t state, size_t place, vqi_mass mass);
    /* The decoded row at a place, and what is added to its product. */
    void (*decode)(float *row, float *bias, const vq_head *head, size_t place);
    /* Without cuts: the token at u of the cumulated distribution, after rank(). @return its log-probability. */
    double (*draw)(vqi_token *token, vqi_head_call *call, size_t state, double u, vqi_mass mass,
                   float scale);
    /* All but the ids. load() finds head->v and ids, and may leave a half-made head to vq_head_free(). */
    vq_status (*save)(vq_tensors *tensors, const vq_head *head, const char *prefix);
    vq_status (*load)(vq_head *head, const vq_tensors *tensors, const char *prefix,
                      const vq_limits *limits);
    /* Add what the mode has to tell; bytes += those of its arrays. */
    void (*describe)(vq_head_info *info, const vq_head *head);
};

extern const vqi_head_kind vqi_head_dense, vqi_head_tied, vqi_head_rerank, vqi_head_rvq;

void vqi_books_clear(vq_head *head);
/** Logits of an rvq head by the state's tables. @param first a multiple of VQI_ROWS. */
void vqi_head_look_up(float *out, const vqi_head_call *call, size_t state, size_t first,
                      size_t count);

/** Everything of a tied or rerank head but its ids. @return as vq_head_build(). */
vq_status vqi_cells_build(vq_head *head, const vq_tensor *rows, const uint32_t *row_of,
                          const vq_head_opts *opts);
/** The group that holds place `row` of head->tokens. */
uint32_t vqi_cells_group(const vq_head *head, uint32_t row);
void vqi_cells_describe(vq_head_info *info, const vq_head *head);
vq_status vqi_cells_save(vq_tensors *tensors, const vq_head *head, const char *prefix);
/** Codewords and groups; finds d, if it is not known, and K. */
vq_status vqi_cells_load(vq_head *head, const vq_tensors *tensors, const char *prefix,
                         const vq_limits *limits);
/** What follows from codewords and biases. @return VQ_OK, VQ_E_NOMEM. */
vq_status vqi_tied_finish(vq_head *head);

/**
 * Cluster rows by k-means.
 * @param[out] codes n. @param row_of the row of each place. @param places n: those to cluster. @param weights by place; NULL = all 1.
 * @return as vq_kmeans_train().
 */
vq_status vqi_head_cluster(uint32_t *codes, const vq_tensor *rows, const uint32_t *row_of,
                           const uint32_t *places, size_t n, const float *weights, uint32_t k,
                           const vq_head_opts *opts);
/** Make groups of the cell of each place: codes below k, others are in the last group. Codes without tokens are left out. */
vq_status vqi_head_index(vq_head *head, uint32_t *cell, uint32_t k);
/** Make the codewords: the weighted means of the groups. */
vq_status vqi_head_means(vq_head *head, const vq_tensor *rows, const uint32_t *row_of,
                         const float *weights, vq_dtype dtype, int threads);

/** As many of the states as are worth the time, n x d, to free. @param k clusters; 0 = none. */
vq_status vqi_fit_states(float **out, size_t *count, const vq_tensor *states, size_t v, uint32_t k);
/** Weights of the rows by place. @param bias by place, or NULL. */
vq_status vqi_fit_weights(float *weights, const vq_tensor *rows, const uint32_t *row_of,
                          const float *bias, const float *states, size_t n, int threads);
/** Offsets of the codes of a head that has groups and codewords. @param probes 0 = all masses count. */
vq_status vqi_fit_offsets(float *offsets, const vq_head *head, const vq_tensor *rows,
                          const uint32_t *row_of, const float *bias, const float *states, size_t n,
                          uint32_t probes, int threads);

vq_dtype vqi_head_dtype(vq_head_storage storage, vq_dtype given);
vq_head_storage vqi_head_storage_of(vq_dtype dtype);
/** Arrays with names after `prefix`; columns = 0: a row. @return as vq_tensors_add(). */
vq_status vqi_head_save_array(vq_tensors *tensors, const char *prefix, const char *name,
                              vq_dtype dtype, size_t rows, size_t columns, const void *data);
/** A matrix `name`, and `name`.scale and `name`.bias. */
vq_status vqi_head_save_rows(vq_tensors *tensors, const char *prefix, const char *name,
                             const vqi_rows *rows);
/** A row of `count` elements (0 = any number above 0), borrowed. @return VQ_OK, VQ_E_FORMAT. */
vq_status vqi_head_load_array(const vq_tensor **out, const vq_tensors *tensors, const char *prefix,
                              const char *name, vq_dtype dtype, size_t count);
/** Finite float32 numbers, to free; NULL if they are absent and not needed. */
vq_status vqi_head_load_numbers(float **out, const vq_tensors *tensors, const char *prefix,
                                const char *name, size_t count, int needed);
vq_status vqi_head_save_uint(vq_tensors *tensors, const char *prefix, const char *name,
                             uint64_t value);
vq_status vqi_head_load_uint(uint64_t *value, const vq_tensors *tensors, const char *prefix,
                             const char *name, uint64_t low, uint64_t high);
/** n and d may be 0 = any. @return VQ_OK, VQ_E_FORMAT, VQ_E_LIMIT, VQ_E_NOMEM. */
vq_status vqi_head_load_rows(vqi_rows *rows, const vq_tensors *tensors, const char *prefix,
                             const char *name, size_t n, uint32_t d, const vq_limits *limits);

/** The place of an id in rising order. @return 0 if there is no such id. */
int vqi_head_find(size_t *place, const vq_head *head, uint32_t id);
/** head->ids in rising order, and the row that each place has. @return VQ_OK, VQ_E_ARG (an id twice), VQ_E_NOMEM. */
vq_status vqi_head_sort_ids(vq_head *head, uint32_t *row_of, const uint32_t *ids);
/** For a mode that has its rows in the order of the ids. @return VQ_OK; VQ_E_FORMAT if they do not rise. */
vq_status vqi_head_ids_rise(vq_head *head);
/** A head with its ids, and the row that each place has, an array to free. @return VQ_OK, VQ_E_ARG (an id twice), VQ_E_NOMEM. */
vq_status vqi_head_new(vq_head **out, uint32_t **row_of, size_t v, uint32_t d, const uint32_t *ids);
/** The biases of the rows row_of[]; NULL for no tensor. @return VQ_OK, VQ_E_NONFINITE, VQ_E_NOMEM. */
vq_status vqi_head_bias(float **bias, const vq_tensor *tensor, const uint32_t *row_of, size_t v);

/** A state as the kernels read it: d floats, and zeros up to a multiple of eight. */
static inline const float *vqi_head_state(const vqi_head_call *call, size_t state)
{
    return call->h + state * vqi_padded(call->head->d);
}

#endif
