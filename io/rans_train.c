/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A shard's tables. Each level is counted alone, and beside each kind of code nearby; codes nearby that go with alike
 * codes are put into one class. Whichever tables give fewest bytes, their own included, are taken. Logarithms
 * are integers, so that every machine takes the same.
 */
#include <string.h>

#include "io/packing_internal.h"
#include "io/rans_tables_internal.h"
#include "io/store_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

enum {
    KINDS = VQI_NEAR_LEVEL + 1, /* of codes nearby; 0 is none */
    MOST_PAIRED = 2048,         /* symbols of a level that is counted beside others */
    CLASSES = 16,
    PAIR_CLASSES = 8,
    ROUNDS = 5,
    LOG_ONE = 4096 /* one bit of a cost */
};

/* log2(value) in 1 / LOG_ONE, rounded down; of 0 as of 1. */
static uint32_t log2_of(uint64_t value)
{
    if (value < 2)
        return 0;
    const unsigned whole = 63 - (unsigned)__builtin_clzll(value);
    uint64_t x = whole > 31 ? value >> (whole - 31) : value << (31 - whole); /* 1 to 2, in 2^-31 */
    uint32_t log = whole;
    for (uint32_t bit = LOG_ONE; bit > 1; bit /= 2) {
        x = x * x >> 31;
        log = log * 2 + (uint32_t)(x >> 32);
        x >>= x >> 32;
    }
    return log;
}

/* What is counted of one level. */
typedef struct counts {
    const vq_store_stream *schema;
    uint32_t stream, level;
    uint32_t symbols, symbols_below;
    int used[KINDS];
    uint32_t *pair[KINDS]; /* (symbols of the code nearby + 1) x symbols; [0]: symbols */
    uint64_t total;
} counts;

static uint32_t near_symbols(const counts *c, int kind)
{
    return kind == VQI_NEAR_LEVEL ? c->symbols_below : c->symbols;
}

static void counts_clear(counts *c)
{
    for (int kind = 0; kind < KINDS; kind++)
        vq_free(c->pair[kind]);
}

static vq_status counts_allocate(counts *c, const vq_store_stream *schema, uint32_t stream,
                                 uint32_t level)
{
    *c = (counts){.schema = schema, .stream = stream, .level = level};
    c->symbols = vqi_rans_symbols(schema->k[level]);
    c->symbols_below = level ? vqi_rans_symbols(schema->k[level - 1]) : 0;
    for (int kind = 0; kind < KINDS; kind++) {
        if (kind && (c->symbols > MOST_PAIRED || near_symbols(c, kind) > MOST_PAIRED ||
                     !near_symbols(c, kind)))
            continue;
        const size_t rows = kind ? near_symbols(c, kind) + 1 : 1;
        c->pair[kind] = vqi_calloc(rows * c->symbols, sizeof(uint32_t));
        if (!c->pair[kind]) {
            counts_clear(c);
            return vqi_fail_nomem(rows * c->symbols * sizeof(uint32_t));
        }
    }
    return VQ_OK;
}

static void count_tokens(counts *c, const vq_tokens *tokens)
{
    const size_t positions = vq_tokens_positions(tokens);
    const uint32_t *codes = tokens->codes + c->level * positions;
    const uint32_t k = c->schema->k[c->level], k_below = c->level ? c->schema->k[c->level - 1] : 0;
    vqi_rans_place p;
    vqi_rans_place_begin(&p, tokens);
    c->total += positions;
    for (size_t i = 0; i < positions; i++, vqi_rans_place_next(&p)) {
        const uint32_t symbol = vqi_rans_symbol_of(k, codes[i]);
        c->pair[0][symbol]++;
        for (int kind = 1; kind < KINDS; kind++) {
            if (!c->pair[kind])
                continue;
            const uint32_t *near = vqi_rans_near_code((vqi_rans_near)kind, &p, codes + i,
                                                      c->level ? codes + i - positions : NULL);
            const uint32_t row =
                near ? vqi_rans_symbol_of(kind == VQI_NEAR_LEVEL ? k_below : k, *near)
                     : near_symbols(c, kind);
            c->pair[kind][(size_t)row * c->symbols + symbol]++;
            c->used[kind] |= near != NULL;
        }
    }
}

/* Every record's tokens of the stream. */
static vq_status each_record(const vq_shard *shard, uint32_t stream, void *context,
                             void (*visit)(void *context, const vq_tokens *tokens))
{
    vq_record *record;
    vq_status status = vq_record_create(&record);
    for (uint64_t i = 0; !status && i < vq_shard_records(shard); i++) {
        status = vq_shard_read(record, shard, i);
        if (!status && record->tokens[stream])
            visit(context, record->tokens[stream]);
    }
    vq_record_free(record);
    return status;
}

static void visit_counts(void *context, const vq_tokens *tokens)
{
    count_tokens(context, tokens);
}

/* Costs of each symbol in each class, in bits x LOG_ONE, as if each had been seen once more. */
static void class_costs(uint32_t *cost, const uint64_t *sum, uint32_t classes, uint32_t symbols)
{
    for (uint32_t c = 0; c < classes; c++) {
        uint64_t total = symbols;
        for (uint32_t s = 0; s < symbols; s++)
            total += sum[(size_t)c * symbols + s];
        const uint32_t all = log2_of(total);
        for (uint32_t s = 0; s < symbols; s++)
            cost[(size_t)c * symbols + s] = all - log2_of(sum[(size_t)c * symbols + s] + 1);
    }
}

/* The counts that are not 0, row by row: of few codes, most are. */
typedef struct sparse {
    uint32_t rows, symbols;
    size_t *first;    /* rows + 1 */
    uint16_t *symbol; /* of each count */
    uint32_t *count;
    uint64_t *total; /* of each row */
} sparse;

static void sparse_clear(sparse *m)
{
    vq_free(m->first);
    vq_free(m->symbol);
    vq_free(m->count);
    vq_free(m->total);
}

static vq_status sparse_of(sparse *m, const uint32_t *pair, uint32_t rows, uint32_t symbols)
{
    size_t used = 0;
    for (size_t i = 0; i < (size_t)rows * symbols; i++)
        used += pair[i] ? 1 : 0;
    *m = (sparse){.rows = rows,
                  .symbols = symbols,
                  .first = vqi_alloc((size_t)rows + 1, sizeof *m->first),
                  .symbol = vqi_alloc(used + 1, sizeof *m->symbol),
                  .count = vqi_alloc(used + 1, sizeof *m->count),
                  .total = vqi_calloc(rows, sizeof *m->total)};
    if (!m->first || !m->symbol || !m->count || !m->total) {
        sparse_clear(m);
        return vqi_fail_nomem((unsigned long long)used * sizeof *m->count);
    }
    size_t at = 0;
    for (uint32_t r = 0; r < rows; r++) {
        m->first[r] = at;
        for (uint32_t s = 0; s < symbols; s++)
            if (pair[(size_t)r * symbols + s]) {
                m->symbol[at] = (uint16_t)s;
                m->count[at] = pair[(size_t)r * symbols + s];
                m->total[r] += m->count[at++];
            }
    }
    m->first[rows] = at;
    return VQ_OK;
}

static uint64_t row_cost(const sparse *m, uint32_t row, const uint32_t *cost)
{
    uint64_t sum = 0;
    for (size_t i = m->first[row]; i < m->first[row + 1]; i++)
        sum += (uint64_t)m->count[i] * cost[m->symbol[i]];
    return sum;
}

/* The most frequent rows begin a class each; then every row goes where it costs least, again and again. */
static void begin_classes(uint8_t *class_of, const sparse *m, uint32_t classes)
{
    memset(class_of, 0xff, m->rows);
    for (uint32_t c = 0; c < classes; c++) {
        uint32_t best = m->rows;
        for (uint32_t r = 0; r < m->rows; r++)
            if (class_of[r] == 0xff && (best == m->rows || m->total[r] > m->total[best]))
                best = r;
        class_of[best] = (uint8_t)c;
    }
}

static void sum_classes(uint64_t *sum, const sparse *m, const uint8_t *class_of)
{
    for (uint32_t r = 0; r < m->rows; r++)
        for (size_t i = m->first[r]; class_of[r] != 0xff && i < m->first[r + 1]; i++)
            sum[class_of[r] * (size_t)m->symbols + m->symbol[i]] += m->count[i];
}

static void place_rows(uint8_t *class_of, const sparse *m, const uint32_t *cost, uint32_t classes)
{
    for (uint32_t r = 0; r < m->rows; r++) {
        uint64_t least = UINT64_MAX;
        for (uint32_t c = 0; c < classes; c++) {
            const uint64_t own = row_cost(m, r, cost + (size_t)c * m->symbols);
            if (own < least) {
                least = own;
                class_of[r] = (uint8_t)c;
            }
        }
    }
}

static vq_status find_classes(uint8_t *class_of, const uint32_t *pair, uint32_t rows,
                              uint32_t symbols, uint32_t classes)
{
    sparse m;
    const size_t cells = (size_t)classes * symbols;
    vq_status status = sparse_of(&m, pair, rows, symbols);
    if (status)
        return status;
    uint64_t *sum = vqi_alloc(cells, sizeof *sum);
    uint32_t *cost = vqi_alloc(cells, sizeof *cost);
    if (!sum || !cost)
        status = vqi_fail_nomem(cells * sizeof *sum);
    else
        begin_classes(class_of, &m, classes);
    for (int round = 0; !status && round < ROUNDS; round++) {
        memset(sum, 0, cells * sizeof *sum);
        sum_classes(sum, &m, class_of);
        class_costs(cost, sum, classes, symbols);
        place_rows(class_of, &m, cost, classes);
    }
    sparse_clear(&m);
    vq_free(sum);
    vq_free(cost);
    return status;
}

/* Tables of counts (tables x symbols), and what the codes cost with them, in bytes, themselves included. */
static vq_status make_tables(vqi_rans_level *l, uint64_t *bytes, const uint32_t *table,
                             uint32_t symbols_below)
{
    uint64_t *scratch = vqi_alloc(l->symbols, sizeof *scratch), cost = 0;
    vq_status status = scratch ? vqi_rans_level_allocate(l) : vqi_fail_nomem(l->symbols * 8u);
    for (uint32_t t = 0; !status && t < l->tables; t++) {
        const uint32_t *row = table + (size_t)t * l->symbols;
        uint32_t *start = l->start + (size_t)t * (l->symbols + 1);
        uint64_t total = 0;
        for (uint32_t s = 0; s < l->symbols; s++)
            total += row[s];
        if (!total)
            continue;
        vqi_rans_normalize(start, row, l->symbols, scratch);
        for (uint32_t s = 0; s < l->symbols; s++)
            cost += row[s] * (uint64_t)(VQI_RANS_BITS * LOG_ONE - log2_of(start[s + 1] - start[s]));
    }
    vqi_buffer out = {0};
    if (!status)
        status = vqi_rans_write_level(&out, l, symbols_below);
    *bytes = out.size + cost / LOG_ONE / 8 + 1;
    vq_free(out.data);
    vq_free(scratch);
    return status;
}

/* Take what is better, and clear the other. */
static void take_better(vqi_rans_level *best, uint64_t *least, vqi_rans_level *other,
                        uint64_t bytes)
{
    if (bytes < *least) {
        const vqi_rans_level old = *best;
        *best = *other;
        *other = old;
        *least = bytes;
    }
    vqi_rans_level_clear(other);
}

static vqi_rans_level level_of(const counts *c, uint32_t nears)
{
    return (vqi_rans_level){
        .k = c->schema->k[c->level], .symbols = c->symbols, .nears = nears, .tables = 1};
}

static vq_status add_near(vqi_rans_level *l, const counts *c, int kind, uint32_t classes)
{
    const uint32_t i = l->tables > 1, rows = near_symbols(c, kind);
    classes = classes < rows ? classes : rows;
    l->near[i] = (vqi_rans_near)kind;
    l->classes[i] = classes;
    l->tables *= classes + 1;
    l->class_of[i] = vqi_alloc(rows, 1);
    return l->class_of[i] ? find_classes(l->class_of[i], c->pair[kind], rows, c->symbols, classes)
                          : vqi_fail_nomem(rows);
}

/* One code nearby: the counts are there already, by its symbol. */
static vq_status try_one(vqi_rans_level *best, uint64_t *least, uint64_t *bytes, const counts *c,
                         int kind)
{
    vqi_rans_level l = level_of(c, 1);
    vq_status status = add_near(&l, c, kind, CLASSES);
    uint32_t *table = status ? NULL : vqi_calloc((size_t)l.tables * l.symbols, sizeof *table);
    if (!status && !table)
        status = vqi_fail_nomem((unsigned long long)l.tables * l.symbols * sizeof *table);
    for (uint32_t r = 0; !status && r <= near_symbols(c, kind); r++) {
        const uint32_t t = r < near_symbols(c, kind) ? l.class_of[0][r] : l.classes[0];
        for (uint32_t s = 0; s < l.symbols; s++)
            table[(size_t)t * l.symbols + s] += c->pair[kind][(size_t)r * l.symbols + s];
    }
    if (!status)
        status = make_tables(&l, bytes, table, c->symbols_below);
    vq_free(table);
    if (status)
        vqi_rans_level_clear(&l);
    else
        take_better(best, least, &l, *bytes);
    return status;
}

typedef struct pair_counts {
    const vqi_rans_level *level;
    const counts *counts;
    uint32_t *table;
} pair_counts;

static void visit_pairs(void *context, const vq_tokens *tokens)
{
    const pair_counts *p = context;
    const vqi_rans_level *l = p->level;
    const uint32_t level = p->counts->level;
    const size_t positions = vq_tokens_positions(tokens);
    const uint32_t *codes = tokens->codes + level * positions;
    const uint32_t k_below = level ? p->counts->schema->k[level - 1] : 0;
    vqi_rans_place place;
    vqi_rans_place_begin(&place, tokens);
    for (size_t i = 0; i < positions; i++, vqi_rans_place_next(&place)) {
        const uint32_t t =
            vqi_rans_context(l, k_below, &place, codes + i, level ? codes + i - positions : NULL);
        p->table[(size_t)t * l->symbols + vqi_rans_symbol_of(l->k, codes[i])]++;
    }
}

/* Two codes nearby: the codes are counted again. */
static vq_status try_two(vqi_rans_level *best, uint64_t *least, const vq_shard *shard,
                         const counts *c, int one, int two)
{
    vqi_rans_level l = level_of(c, 2);
    vq_status status = add_near(&l, c, one, PAIR_CLASSES);
    if (!status)
        status = add_near(&l, c, two, PAIR_CLASSES);
    pair_counts pairs = {&l, c, NULL};
    if (!status && !(pairs.table = vqi_calloc((size_t)l.tables * l.symbols, sizeof(uint32_t))))
        status = vqi_fail_nomem((unsigned long long)l.tables * l.symbols * sizeof(uint32_t));
    if (!status)
        status = each_record(shard, c->stream, &pairs, visit_pairs);
    uint64_t bytes = 0;
    if (!status)
        status = make_tables(&l, &bytes, pairs.table, c->symbols_below);
    vq_free(pairs.table);
    if (status)
        vqi_rans_level_clear(&l);
    else
        take_better(best, least, &l, bytes);
    return status;
}

/* The best tables of one level. */
static vq_status choose_level(vqi_rans_level *best, uint64_t *least, const vq_shard *shard,
                              const counts *c)
{
    *best = level_of(c, 0);
    *least = UINT64_MAX;
    vq_status status = make_tables(best, least, c->pair[0], c->symbols_below);
    uint64_t order0 = *least, first = UINT64_MAX, second = UINT64_MAX;
    int one = 0, two = 0;
    /* Fewer codes than this would not pay for more tables. */
    for (int kind = 1; !status && kind < KINDS && c->total >= 8u * c->symbols; kind++) {
        uint64_t bytes = UINT64_MAX;
        if (!c->used[kind] || !c->pair[kind])
            continue;
        status = try_one(best, least, &bytes, c, kind);
        if (bytes < first) {
            second = first;
            two = one;
            first = bytes;
            one = kind;
        } else if (bytes < second) {
            second = bytes;
            two = kind;
        }
    }
    if (!status && two && second < order0)
        status = try_two(best, least, shard, c, one, two);
    return status;
}

static vq_status train_level(vqi_rans_level *level, uint64_t *bytes, uint64_t *bits,
                             const vq_shard *shard, uint32_t stream, uint32_t l)
{
    counts c;
    vq_status status = counts_allocate(&c, &shard->head.schema.stream[stream], stream, l);
    if (status)
        return status;
    status = each_record(shard, stream, &c, visit_counts);
    if (!status && c.total)
        status = choose_level(level, bytes, shard, &c);
    if (!status && c.schema->k[l] > VQI_RANS_SYMBOLS)
        *bytes += 2 * c.total;
    *bits = c.total * vqi_code_bits(c.schema->k[l]);
    counts_clear(&c);
    return status;
}

/* A stream whose codes would not shrink gets no tables. */
static vq_status train_stream(vqi_rans_stream *s, const vq_shard *shard, uint32_t stream,
                              uint64_t *cells)
{
    const vq_store_stream *schema = &shard->head.schema.stream[stream];
    s->level = vqi_calloc(schema->levels, sizeof *s->level);
    if (!s->level)
        return vqi_fail_nomem(schema->levels * sizeof *s->level);
    s->levels = schema->levels;
    vq_status status = VQ_OK;
    const uint64_t before = *cells;
    bool whole = true;
    uint64_t bytes = 0, bits = 0;
    for (uint32_t l = 0; !status && whole && l < s->levels; l++) {
        uint64_t level_bytes = 0, level_bits = 0;
        status = train_level(&s->level[l], &level_bytes, &level_bits, shard, stream, l);
        bytes += level_bytes;
        bits += level_bits;
        *cells += (uint64_t)s->level[l].tables * s->level[l].symbols;
        whole = s->level[l].tables && *cells <= VQI_RANS_CELLS;
    }
    if (status || (whole && bytes < bits / 8))
        return status;
    for (uint32_t l = 0; l < s->levels; l++)
        vqi_rans_level_clear(&s->level[l]);
    vq_free(s->level);
    *s = (vqi_rans_stream){0};
    *cells = before;
    return VQ_OK;
}

vq_status vqi_rans_train(vqi_rans **out, const vq_shard *shard)
{
    *out = NULL;
    vqi_rans *rans = vqi_calloc(1, sizeof *rans);
    if (!rans)
        return vqi_fail_nomem(sizeof *rans);
    uint64_t cells = 0;
    vq_status status = VQ_OK;
    for (uint32_t i = 0; !status && i < shard->head.schema.streams; i++)
        status = train_stream(&rans->stream[i], shard, i, &cells);
    if (status)
        vqi_rans_free(rans);
    else
        *out = rans;
    return status;
}
