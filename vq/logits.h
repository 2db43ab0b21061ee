/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file vq/logits.h
 * The output layer of a language model ("VQ-logits"): a head made once from the output matrix W (V rows of d) gives, for hidden
 * states h, the logits w_t . h (+ bias_t), the best candidates, samples and log-probabilities, for a fraction of the memory
 * traffic. A head is immutable: many threads may use one at once, each with a workspace of its own.
 *
 * The modes, and what each guarantees. "Decoded matrix" is what the head stands for: the rows as they are stored.
 *
 * - dense: every row is scored. The decoded matrix is W in the storage type; all is exact. The reference.
 * - tied: K codewords shared by V tokens (the published VQ-Logits, Shao et al. 2025, arXiv:2505.10202), repaired: the most frequent
 *   tokens have a codeword of their own, the others differ by a bias, the logarithm of their share of their code's use (of `counts`).
 *   The decoded row of a token is its codeword. Log-partition and ranking take O(K) and are exact. The
 *   perplexity is that of a weaker model: measure it.
 * - rvq: every row is a sum of codewords of residual codebooks on slices of d (rvq/head.h trains them). The decoded matrix is
 *   those sums; all is exact for it, up to the rounding of sums.
 * - rerank (the default; clusters of rows probed as in FlashHead, arXiv:2603.14591): K clusters of tokens. The estimated mass of every
 *   cluster is scored, then the exact rows of the `probes` best clusters and of the always-scored ids. A logit that is given is the exact one, always.
 *   Whenever the cluster of the dense argmax is probed, the greedy choice is that of a dense head with the same storage,
 *   bit for bit. The log-partition is an estimate: exact over the rows that were scored, plus an estimated mass for each
 *   cluster that was not, from the spread inside it that was fitted when the head was made (to `states`, if given). The
 *   log-probabilities of vq_head_log_probs() and the samples of vq_head_sample() are of a true distribution, which sums to
 *   1: a cluster that was not probed has its estimated mass, divided among its tokens by their exact logits. With probes
 *   >= K all is exact.
 *
 * The contract of a logit, the same bits for every thread count, instruction set and batch: float32, eight
 * strided partial sums of fused multiply-adds, p[j] = fma(w[i], h[i], p[j]) over i = j mod 8 in rising i, each begun at +0, both
 * sides followed by zeros up to a multiple of eight; then ((p0+p4) + (p2+p6)) + ((p1+p5) + (p3+p7)); then, for int8, times the
 * row's scale; then plus the bias, if there is one. (rvq: each level's codeword times its slice of h is such a sum; a logit is the
 * float32 sum of them, level by level, begun at +0.) Ranking: larger logit first, equal ones by lower id.
 *
 * Ids are explicit: row i of W is of the token ids[i]. Outputs of size V are in rising order of the ids, so
 * for ids 0 .. V - 1 a logit is at the place of its id.
 */
#ifndef VQ_LOGITS_H
#define VQ_LOGITS_H

#include <stddef.h>
#include <stdint.h>

#include "vq/codebook.h"
#include "vq/limits.h"
#include "vq/status.h"
#include "vq/tensors.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Stored in files as names. */
typedef enum vq_head_mode {
    VQ_HEAD_RERANK = 0,
    VQ_HEAD_DENSE = 1,
    VQ_HEAD_TIED = 2,
    VQ_HEAD_RVQ = 3
} vq_head_mode;

/** @return "rerank", "dense", "tied", "rvq"; "?" otherwise. Static storage. */
VQ_API const char *vq_head_mode_name(vq_head_mode mode);
/** @return VQ_OK or VQ_E_ARG, whose sentence lists the names. */
VQ_API vq_status vq_head_mode_parse(vq_head_mode *mode, const char *name);

/** How rows are stored. */
typedef enum vq_head_storage {
    VQ_HEAD_AS_GIVEN = 0, /**< in the type of the tensor that they come from */
    VQ_HEAD_F32 = 1,
    VQ_HEAD_F16 = 2,
    VQ_HEAD_BF16 = 3,
    VQ_HEAD_I8 = 4 /**< int8 and a float32 scale for each row: largest |w| / 127 */
} vq_head_storage;

/** @return "as given", "f32", "f16", "bf16", "i8"; "?" otherwise. Static storage. */
VQ_API const char *vq_head_storage_name(vq_head_storage storage);
/** @return VQ_OK or VQ_E_ARG, whose sentence lists the names. */
VQ_API vq_status vq_head_storage_parse(vq_head_storage *storage, const char *name);

typedef struct vq_head vq_head;

/** How a head is made. All zero = all defaults. Everything pointed to is borrowed for the call only. */
typedef struct vq_head_opts {
    size_t struct_size;      /**< sizeof(vq_head_opts) */
    vq_head_mode mode;       /**< rvq: VQ_E_ARG here, see rvq/head.h */
    vq_head_storage storage; /**< of the rows: dense and rerank; tied stores no rows */
    /** Of the codewords: 0 = tied: as the rows are given; rerank: int8. */
    vq_head_storage code_storage;
    const uint32_t *ids; /**< V different ids; NULL = 0 .. V - 1 */
    /** V counts (or frequencies) of tokens in text, any type, finite, >= 0; NULL = unknown. tied: which tokens have
     *  codewords of their own, and the biases; without it no token has and all biases are 0. Rows weigh (count + 1)^(1/2)
     *  in clustering, or by their mean p (1 - p) over `states`, if those are given. */
    const vq_tensor *counts;
    const vq_tensor *bias; /**< V, the bias of the layer, finite; NULL = none */
    /** n x d hidden states, F32, F16 or BF16, of text like that to come; NULL = none. What the model's uncertainty is where
     *  it matters: weights of rows, and the fit of the spread. A few thousand are enough. */
    const vq_tensor *states;
    uint32_t codes; /**< K; tied: 0 = V / 8; rerank: 0 = V / 16; at least 1, at most V; codes
                         without tokens are left out */
    uint32_t
        singles; /**< tied: tokens with a codeword of their own, below K; 0 = K / 2 if counts are given */
    uint32_t
        probes; /**< rerank: clusters that are probed unless a call says; 0 = K / 32, at least 1 */
    const uint32_t *always; /**< rerank: ids that are always scored (end of text, tools, ...) */
    uint32_t n_always;
    const uint32_t
        *cells; /**< V: the code of each row, below `codes`, each used; NULL = by k-means */
    uint32_t iterations; /**< of k-means, before rounds of repair; 0 = 10 */
    uint64_t seed;
    int threads; /**< 0 = as many as OpenMP gives; never changes the result */
    /** Called now and then with the share that is done, 0 to 1; not 0 = stop: VQ_E_CANCELLED. NULL = none. */
    int (*progress)(void *context, double done);
    void *progress_context;
} vq_head_opts;

#define VQ_HEAD_OPTS_INIT                                                                          \
    {                                                                                              \
        sizeof(vq_head_opts), VQ_HEAD_RERANK, VQ_HEAD_AS_GIVEN, VQ_HEAD_AS_GIVEN, NULL, NULL,      \
            NULL, NULL, 0, 0, 0, NULL, 0, NULL, 0, 0, 0, NULL, NULL                                \
    }

/**
 * Make a head. Memory beyond the head and the rows: for k-means, which sees rows longer than 256 in a sketch of 256 numbers, 4 bytes x V x
 * min(d, 256), 32 to 40 bytes x K x min(d, 256) and at most 128 MiB; with states at most 128 MiB and 128 bytes x V.
 * @param[out] out  owned by the caller, free with vq_head_free().
 * @param      rows W: V x d, F32, F16 or BF16, finite (vq_tensors_find(), or vq_tensor_from_memory()); copied.
 * @return VQ_OK; VQ_E_ARG (shape, type, a bad option, an id twice, codes > V: the sentence names it); VQ_E_NONFINITE;
 *         VQ_E_NOMEM; VQ_E_CANCELLED. Rows of zeros are allowed.
 */
VQ_API vq_status vq_head_build(vq_head **out, const vq_tensor *rows, const vq_head_opts *opts);
/**
 * Make an rvq head of codes that are there already (rvq/head.h finds some): row i is the sum over the levels m of codeword codes[i][m]
 * of books[m], in the dimensions from first[m] on.
 * @param books  levels codebooks of at most 256 codewords, Euclidean or dot; copied.
 * @param first  levels; NULL = all 0. The codebooks lie within d.
 * @param codes  v x levels, row-major; checked.
 * @param levels 1 to 4096.
 * @param opts   ids and bias are used; `mode` must be rvq.
 * @return as vq_head_build(); VQ_E_RANGE (a code).
 */
VQ_API vq_status vq_head_from_codes(vq_head **out, const vq_codebook *const *books,
                                    const uint32_t *first, uint32_t levels, const uint32_t *codes,
                                    size_t v, uint32_t d, const vq_head_opts *opts);
VQ_API void vq_head_free(vq_head *head);

typedef struct vq_head_info {
    size_t struct_size; /**< sizeof(vq_head_info), set by the caller */
    vq_head_mode mode;
    size_t v;                /**< tokens */
    uint32_t d;              /**< floats of a state */
    uint32_t codes;          /**< K; 0 = none (dense) */
    uint32_t probes;         /**< rerank */
    uint32_t levels;         /**< rvq: codes of a row */
    uint32_t always;         /**< rerank: ids always scored */
    uint32_t largest_code;   /**< tokens of the largest code */
    vq_head_storage storage; /**< of the rows (dense, rerank) */
    vq_head_storage code_storage;
    uint64_t bytes; /**< all arrays of the head in memory */
} vq_head_info;

#define VQ_HEAD_INFO_INIT                                                                          \
    {                                                                                              \
        sizeof(vq_head_info), VQ_HEAD_RERANK, 0, 0, 0, 0, 0, 0, 0, VQ_HEAD_AS_GIVEN,               \
            VQ_HEAD_AS_GIVEN, 0                                                                    \
    }

/** @return VQ_OK, or VQ_E_ARG if struct_size is not set. */
VQ_API vq_status vq_head_get_info(vq_head_info *info, const vq_head *head);
/** @return the V ids in rising order, which is the order of outputs of size V; borrowed. */
VQ_API const uint32_t *vq_head_ids(const vq_head *head);
/**
 * The decoded matrix, in rising order of the ids: a logit is the product of a row with the state, plus the bias.
 * @param[out] rows   count x d.
 * @param[out] biases count, or NULL.
 * @return VQ_OK, VQ_E_ARG (first + count is past V).
 */
VQ_API vq_status vq_head_decode(float *rows, float *biases, const vq_head *head, size_t first,
                                size_t count);

/** How a call runs. All zero = all defaults; NULL is allowed. Only `probes` changes a result. */
typedef struct vq_head_call {
    size_t struct_size; /**< sizeof(vq_head_call) */
    int threads;        /**< 0 = as many as OpenMP gives */
    uint32_t probes;    /**< rerank: 0 = as the head says; K or more = all */
    size_t stride;      /**< floats from one state to the next, at least d; 0 = d */
    void *workspace; /**< vq_head_workspace() bytes, 64-byte aligned; NULL = allocate in the call */
    size_t workspace_size; /**< bytes at workspace */
} vq_head_call;

#define VQ_HEAD_CALL_INIT                                                                          \
    {                                                                                              \
        sizeof(vq_head_call), 0, 0, 0, NULL, 0                                                     \
    }

/** What a call read of the head, summed over the states. */
typedef struct vq_head_report {
    uint64_t
        bytes; /**< of rows, codewords, codes, scales, biases and tables, as if each state came alone */
    uint64_t rows;  /**< rows scored exactly (dense, rerank), or by tables (rvq) */
    uint64_t codes; /**< codewords scored */
} vq_head_report;

/**
 * @return the bytes of workspace with which every call below allocates nothing, for up to n states and `count` results of a
 * state (k; ids; for a sample its top_k, at least 1). It grows with both, with call->threads and with call->probes.
 */
VQ_API size_t vq_head_workspace(const vq_head *head, size_t n, size_t count,
                                const vq_head_call *call);

/**
 * All V logits: the product with the decoded matrix, in every mode (rerank: every row, and the exact log-partition). The
 * states are read 16 at a time, the head once for each 16.
 * @param[out] logits        n x V, in rising order of the ids.
 * @param[out] log_partition n, or NULL: log of the sum of exp(logit).
 * @param[out] report        NULL, or what was read.
 * @param      states        n states of d floats, call->stride apart, finite.
 * @return VQ_OK, VQ_E_ARG, VQ_E_NONFINITE (a state; a state so long that logits could overflow), VQ_E_NOMEM.
 */
VQ_API vq_status vq_head_logits(float *logits, float *log_partition, vq_head_report *report,
                                const vq_head *head, const float *states, size_t n,
                                const vq_head_call *call);

/**
 * The k best tokens, best first; nothing of size V is written. rerank: of the rows that were scored, of more clusters than
 * `probes` if that takes more to have k.
 * @param[out] ids           n x k.
 * @param[out] logits        n x k, or NULL.
 * @param[out] log_partition n, or NULL: with the exactness of the mode.
 * @param      k             1 to V.
 * @return as vq_head_logits().
 */
VQ_API vq_status vq_head_topk(uint32_t *ids, float *logits, float *log_partition,
                              vq_head_report *report, const vq_head *head, const float *states,
                              size_t n, size_t k, const vq_head_call *call);

/**
 * The logits of given tokens (verifying a draft, scoring choices), exact in every mode.
 * @param[out] logits        n x count.
 * @param[out] log_partition n, or NULL: with the exactness of the mode; rerank without it scores these rows only.
 * @param      ids           n x count ids of the head; any order, also repeated.
 * @return as vq_head_logits(); VQ_E_RANGE if the head has no such id.
 */
VQ_API vq_status vq_head_scores(float *logits, float *log_partition, vq_head_report *report,
                                const vq_head *head, const float *states, size_t n,
                                const uint32_t *ids, size_t count, const vq_head_call *call);

/**
 * The log-probabilities of given tokens under the head's own distribution, which sums to 1 over all V: logit -
 * log-partition; rerank: for a token whose cluster was not probed, that of the cluster's estimated mass and the token's exact share of
 * it, for which the cluster's rows are read.
 * @param[out] log_probs n x count.
 * @return as vq_head_scores().
 */
VQ_API vq_status vq_head_log_probs(float *log_probs, vq_head_report *report, const vq_head *head,
                                   const float *states, size_t n, const uint32_t *ids, size_t count,
                                   const vq_head_call *call);

/** How tokens are drawn. The cuts apply in this order, each to what the one before left, renormalised. */
typedef struct vq_head_sample_opts {
    size_t struct_size; /**< sizeof(vq_head_sample_opts) */
    float temperature;  /**< logits are divided by it; 0 = 1. Greedy is top_k = 1 */
    uint32_t top_k;     /**< only the k best; 0 = all */
    /** Only the best tokens that together reach this probability (the one that reaches it included); 0 = 1 = all. */
    float top_p;
    float min_p; /**< only tokens at least this share of the best one's probability; 0 = all */
    uint64_t seed;
    /** The number of the first state's draw, the next ones count on: a state's token depends on seed, number, state and
     *  options only, not on who is in its batch. */
    uint64_t position;
} vq_head_sample_opts;

#define VQ_HEAD_SAMPLE_OPTS_INIT                                                                   \
    {                                                                                              \
        sizeof(vq_head_sample_opts), 0, 0, 0, 0, 0, 0                                              \
    }

/**
 * Draw a token for each state. One Philox4x32-10 number of 53 bits, counter (position + i), key seed, is looked up in the
 * cumulated distribution. rerank: with top_k as vq_head_topk(); top_p and min_p probe more clusters where the rows that were
 * scored do not reach; without cuts any token may come, those of clusters that were not probed with their estimated mass.
 * @param[out] ids       n.
 * @param[out] log_probs n, or NULL: the log-probability of the token in what it was drawn from.
 * @param      opts      NULL = one draw at temperature 1 for each state.
 * @return as vq_head_logits().
 */
VQ_API vq_status vq_head_sample(uint32_t *ids, float *log_probs, vq_head_report *report,
                                const vq_head *head, const float *states, size_t n,
                                const vq_head_sample_opts *opts, const vq_head_call *call);

/**
 * Add a head to a set of tensors (docs/FORMATS.md, "Heads"). Loading gives the same head, bit for bit.
 * @param prefix goes before every name; "" for a file of its own.
 * @return VQ_OK, VQ_E_ARG (names taken, prefix too long), VQ_E_NOMEM.
 */
VQ_API vq_status vq_head_save(vq_tensors *tensors, const vq_head *head, const char *prefix);
/**
 * @param[out] out    owned by the caller, free with vq_head_free(). The arrays are copied.
 * @param      limits NULL = defaults; max_codewords bounds V too.
 * @return VQ_OK, VQ_E_FORMAT (the sentence names tensor or setting), VQ_E_LIMIT, VQ_E_NOMEM.
 */
VQ_API vq_status vq_head_load(vq_head **out, const vq_tensors *tensors, const char *prefix,
                              const vq_limits *limits);

#ifdef __cplusplus
}
#endif
#endif
