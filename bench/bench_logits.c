/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_logits V D SECONDS: heads of a made layer of V x D beside OpenBLAS's sgemv and sgemm in float32, in one process, as JSON on
 * standard output. Times are per token; each is measured for SECONDS. OpenBLAS is loaded when it is there (LIBVQ_OPENBLAS
 * names another file than libopenblas.so.0), with its threads for as many as OpenMP gives us.
 */
#include <dlfcn.h>
#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_logits.h"
#include "vq/cpu.h"
#include "vq/logits.h"

enum { BATCH = 16, TOP = 50, TEST = 512, FIT = 2048, ROW_MAJOR = 101, PLAIN = 111, TURNED = 112 };

typedef struct blas {
    void (*sgemv)(int, int, int, int, float, const float *, int, const float *, int, float, float *,
                  int);
    void (*sgemm)(int, int, int, int, int, int, float, const float *, int, const float *, int,
                  float, float *, int);
    void (*set_threads)(int);
    char *(*config)(void);
} blas;

/* A function of a library, without the cast that ISO C does not know. */
static int symbol(void *function, void *library, const char *name)
{
    void *found = dlsym(library, name);
    memcpy(function, &found, sizeof found);
    return found != NULL;
}

static int load(blas *b)
{
    const char *name = getenv("LIBVQ_OPENBLAS");
    void *library = dlopen(name ? name : "libopenblas.so.0", RTLD_NOW);
    if (!library || !symbol(&b->sgemv, library, "cblas_sgemv") ||
        !symbol(&b->sgemm, library, "cblas_sgemm") ||
        !symbol(&b->set_threads, library, "openblas_set_num_threads") ||
        !symbol(&b->config, library, "openblas_get_config"))
        return 0;
    b->set_threads(omp_get_max_threads());
    return 1;
}

/* What the calls share. */
typedef struct bench {
    layer layer;
    blas blas;
    float *states; /* TEST x d */
    double seconds;
    const vq_head *head;
    vq_head_call call;
    float *logits; /* BATCH x V */
    uint32_t ids[BATCH * TOP];
    vq_head_report report;
    int failed;
} bench;

static void need(bench *b, vq_status status)
{
    if (status && !b->failed)
        fprintf(stderr, "bench_logits: %s\n", vq_last_error());
    b->failed |= status != VQ_OK;
}

typedef void work(bench *b, const float *states, size_t n);

/* Seconds per token, the mean of some batches of states, which differ in what they take, of the best of at least three calls with
 * each, which nothing else on the machine disturbed. */
static double timed(bench *b, work *function, size_t batch)
{
    enum { BATCHES = 8, CALLS = 3 };
    double best[BATCHES], sum = 0;
    const double start = omp_get_wtime();
    for (size_t i = 0; i < BATCHES; i++)
        best[i] = INFINITY;
    for (size_t r = 0; !b->failed && (r < CALLS || omp_get_wtime() - start < b->seconds); r++)
        for (size_t i = 0; i < BATCHES; i++) {
            const double before = omp_get_wtime();
            function(b, b->states + i * batch * b->layer.d, batch);
            best[i] = fmin(best[i], omp_get_wtime() - before);
        }
    for (size_t i = 0; i < BATCHES; i++)
        sum += best[i];
    return sum / BATCHES / (double)batch;
}

typedef uint64_t wide __attribute__((vector_size(64)));

static inline __attribute__((always_inline)) uint64_t sum_of(const wide *from, const wide *to)
{
    wide a = {0}, b = {0}, c = {0}, d = {0};
    for (; to - from >= 4; from += 4) {
        a += from[0];
        b += from[1];
        c += from[2];
        d += from[3];
    }
    a += b + c + d;
    return a[0] + a[1] + a[2] + a[3] + a[4] + a[5] + a[6] + a[7];
}

static uint64_t sum_any(const wide *from, const wide *to)
{
    return sum_of(from, to);
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static uint64_t sum_avx512(const wide *from, const wide *to)
{
    return sum_of(from, to);
}
#endif

static void read_rows(bench *b, const float *states, size_t n)
{
    (void)states, (void)n;
    const size_t parts = (size_t)omp_get_max_threads(), all = b->layer.v * b->layer.d / 16;
    const wide *rows = (const wide *)(const void *)b->layer.rows;
    uint64_t (*sum)(const wide *, const wide *) = sum_any;
#if defined(__x86_64__)
    if (vq_cpu_flags() & VQ_CPU_AVX512)
        sum = sum_avx512;
#endif
    uint64_t total = 0;
#pragma omp parallel for reduction(+ : total)
    for (size_t part = 0; part < parts; part++)
        total += sum(rows + all * part / parts, rows + all * (part + 1) / parts);
    b->report.rows = total; /* so that nothing is left out */
}

static void peer_sgemv(bench *b, const float *states, size_t n)
{
    (void)n;
    const int v = (int)b->layer.v, d = (int)b->layer.d;
    b->blas.sgemv(ROW_MAJOR, PLAIN, v, d, 1, b->layer.rows, d, states, 1, 0, b->logits, 1);
}

static void peer_sgemm(bench *b, const float *states, size_t n)
{
    const int v = (int)b->layer.v, d = (int)b->layer.d;
    b->blas.sgemm(ROW_MAJOR, PLAIN, TURNED, (int)n, v, d, 1, states, d, b->layer.rows, d, 0,
                  b->logits, v);
}

static void ours_logits(bench *b, const float *states, size_t n)
{
    need(b, vq_head_logits(b->logits, NULL, &b->report, b->head, states, n, &b->call));
}

static void ours_topk(bench *b, const float *states, size_t n)
{
    float logits[BATCH * TOP], whole[BATCH];
    need(b, vq_head_topk(b->ids, logits, whole, &b->report, b->head, states, n, TOP, &b->call));
}

/* The largest difference of our logits and OpenBLAS's, of the largest logit. */
static double difference(bench *b)
{
    float *theirs = malloc(b->layer.v * sizeof *theirs);
    double most = 0, largest = 0;
    if (!theirs)
        return NAN;
    peer_sgemv(b, b->states, 1);
    memcpy(theirs, b->logits, b->layer.v * sizeof *theirs);
    ours_logits(b, b->states, 1);
    for (size_t t = 0; t < b->layer.v; t++) {
        most = fmax(most, fabs((double)theirs[t] - (double)b->logits[t]));
        largest = fmax(largest, fabs((double)theirs[t]));
    }
    free(theirs);
    return most / largest;
}

/* The best token of each state. @return the bytes that a state's 50 best take, on average. */
static double best_ids(bench *b, uint32_t *best)
{
    double bytes = 0;
    for (size_t s = 0; s < TEST && !b->failed; s += BATCH) {
        ours_topk(b, b->states + s * b->layer.d, BATCH);
        for (size_t i = 0; i < BATCH; i++)
            best[s + i] = b->ids[i * TOP];
        bytes += (double)b->report.bytes;
    }
    return bytes / TEST;
}

static vq_head *build(bench *b, const vq_head_opts *opts, double *seconds)
{
    vq_head *head = NULL;
    const vq_tensor rows =
        vq_tensor_from_memory(b->layer.rows, VQ_DTYPE_F32, b->layer.v, b->layer.d);
    const double start = omp_get_wtime();
    need(b, vq_head_build(&head, &rows, opts));
    *seconds = omp_get_wtime() - start;
    b->head = head;
    return head;
}

/* Times at both batches, bytes, recall@1; `exact` are the dense head's best, or where they go if `first`. */
static void tell(bench *b, const char *name, uint32_t *exact, double built, int first)
{
    vq_head_info info = VQ_HEAD_INFO_INIT;
    uint32_t best[TEST];
    size_t same = 0;
    vq_head_get_info(&info, b->head);
    const double one = timed(b, ours_topk, 1);
    const double many = timed(b, ours_topk, BATCH);
    const double bytes = best_ids(b, best);
    if (first)
        memcpy(exact, best, sizeof best);
    for (size_t s = 0; s < TEST; s++)
        same += best[s] == exact[s];
    printf(", \"%s\": {\"build_s\": %.3f, \"topk_b1_s\": %.9f, \"topk_b16_s\": %.9f, \"bytes\": "
           "%.0f, \"recall1\": %.6f, \"codes\": %u, \"probes\": %u}",
           name, built, one, many, bytes, (double)same / TEST, info.codes,
           b->call.probes ? b->call.probes : info.probes);
    fflush(stdout);
}

static void dense(bench *b, vq_head_storage storage, const char *name, uint32_t *exact)
{
    vq_head_opts opts = VQ_HEAD_OPTS_INIT;
    double built;
    opts.mode = VQ_HEAD_DENSE;
    opts.storage = storage;
    vq_head *head = build(b, &opts, &built);
    if (head) {
        const double one = timed(b, ours_logits, 1), many = timed(b, ours_logits, BATCH);
        printf(", \"%s_logits\": {\"b1_s\": %.9f, \"b16_s\": %.9f}", name, one, many);
        if (b->blas.sgemv && storage == VQ_HEAD_F32)
            printf(", \"difference\": %.3g", difference(b));
        tell(b, name, exact, built, storage == VQ_HEAD_F32);
    }
    vq_head_free(head);
}

static void clustered(bench *b, vq_head_mode mode, uint32_t *exact)
{
    vq_head_opts opts = VQ_HEAD_OPTS_INIT;
    char name[32];
    double built;
    float *fit = layer_states(&b->layer, FIT, 2);
    const vq_tensor states = vq_tensor_from_memory(fit, VQ_DTYPE_F32, FIT, b->layer.d);
    opts.mode = mode;
    opts.storage = mode == VQ_HEAD_RERANK ? VQ_HEAD_F16 : VQ_HEAD_AS_GIVEN;
    opts.code_storage = mode == VQ_HEAD_TIED ? VQ_HEAD_F16 : VQ_HEAD_AS_GIVEN;
    opts.codes = mode == VQ_HEAD_TIED ? (uint32_t)b->layer.v / 100 : 0;
    opts.iterations = mode == VQ_HEAD_TIED ? 2 : 0; /* its quality is not what is measured here */
    opts.states = &states;
    vq_head *head = fit ? build(b, &opts, &built) : NULL;
    if (head) {
        vq_head_info info = VQ_HEAD_INFO_INIT;
        vq_head_get_info(&info, head);
        tell(b, vq_head_mode_name(mode), exact, built, 0);
        for (uint32_t p = info.probes / 8; mode == VQ_HEAD_RERANK && p && p < info.probes; p *= 2) {
            b->call.probes = p;
            snprintf(name, sizeof name, "rerank_%u", p);
            tell(b, name, exact, built, 0);
        }
        b->call.probes = 0;
    }
    vq_head_free(head);
    free(fit);
}

int main(int argc, char **argv)
{
    bench b = {.call = VQ_HEAD_CALL_INIT};
    uint32_t exact[TEST];
    if (argc != 4) {
        fprintf(stderr, "usage: bench_logits V D SECONDS\n");
        return 2;
    }
    const size_t v = strtoul(argv[1], NULL, 10), d = strtoul(argv[2], NULL, 10);
    b.seconds = strtod(argv[3], NULL);
    if (v < 1024 || v > 1 << 20 || d < 16 || d > 1 << 16 || layer_make(&b.layer, v, d))
        return 1;
    b.states = layer_states(&b.layer, TEST, 1);
    b.logits = malloc(BATCH * v * sizeof *b.logits);
    if (!b.states || !b.logits)
        return 1;
    const int peer = load(&b.blas);
    printf("{\"v\": %zu, \"d\": %zu, \"openblas\": \"%s\"", v, d, peer ? b.blas.config() : "");
    printf(", \"read_s\": %.9f", timed(&b, read_rows, 1));
    if (peer) {
        printf(", \"sgemv_s\": %.9f", timed(&b, peer_sgemv, 1));
        printf(", \"sgemm_s\": %.9f", timed(&b, peer_sgemm, BATCH));
    }
    dense(&b, VQ_HEAD_F32, "dense_f32", exact);
    dense(&b, VQ_HEAD_F16, "dense_f16", exact);
    clustered(&b, VQ_HEAD_RERANK, exact);
    clustered(&b, VQ_HEAD_TIED, exact);
    puts("}");
    free(b.states);
    free(b.logits);
    layer_clear(&b.layer);
    return b.failed;
}
