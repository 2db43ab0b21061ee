/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* strtod_l: the point is a point, whatever the program's locale */
#include "io/csv.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "io/bytes_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

enum { MAX_FIELD = 256, MAX_NUMBER = 32, MAX_COLUMNS = 65536 };

typedef struct table {
    vqi_cursor cursor;
    locale_t locale;
    char separator;
    size_t line; /* of the file, from 1 */
    size_t columns, rows;
    int header;
    size_t time; /* the column, or SIZE_MAX */
} table;

/* The next line, without its end and without blanks around it; 0 at the end of the file. */
static int next_line(const char **line, size_t *size, table *t)
{
    while (vqi_remaining(&t->cursor)) {
        const char *begin = (const char *)t->cursor.at;
        const size_t left = vqi_remaining(&t->cursor);
        const char *end = memchr(begin, '\n', left);
        size_t n = end ? (size_t)(end - begin) : left;
        vqi_take(&t->cursor, end ? n + 1 : n);
        t->line++;
        while (n && (begin[n - 1] == '\r' || begin[n - 1] == ' '))
            n--;
        if (n) {
            *line = begin;
            *size = n;
            return 1;
        }
    }
    return 0;
}

/* Take a field off the front of a line: blanks and quotes are removed. Returns 0 if it is too long or its quote does not end. */
static int next_field(char field[MAX_FIELD], const char **line, size_t *left, char separator)
{
    const char *at = *line, *end = at + *left;
    size_t n = 0;
    while (at < end && *at == ' ')
        at++;
    const int quoted = at < end && *at == '"';
    at += quoted;
    for (; at < end && (quoted || *at != separator); at++) {
        if (quoted && *at == '"') {
            if (at + 1 == end || at[1] != '"')
                break;
            at++;
        }
        if (n + 1 == MAX_FIELD || !*at)
            return 0;
        field[n++] = *at;
    }
    if (quoted) {
        if (at == end)
            return 0;
        at++;
        while (at < end && *at == ' ')
            at++;
    }
    while (!quoted && n && field[n - 1] == ' ')
        n--;
    field[n] = 0;
    if (at < end && *at != separator)
        return 0;
    *left = (size_t)(end - at);
    *line = at;
    return 1;
}

static int to_number(double *value, const char *field, locale_t locale)
{
    char *end;
    if (!*field || strpbrk(field, "xX"))
        return 0;
    *value = strtod_l(field, &end, locale);
    return !*end;
}

static vq_status bad_field(const table *t, size_t column, const char *what)
{
    return vqi_fail(VQ_E_FORMAT, "line %zu, column %zu: %s", t->line, column + 1, what);
}

/* Look at the first line: separator, columns, header. */
static vq_status read_first(table *t, const char *line, size_t size)
{
    static const char separators[] = ",;\t";
    t->separator = ',';
    size_t best = 0;
    for (const char *s = separators; *s; s++) {
        size_t n = 0;
        for (size_t i = 0; i < size; i++)
            n += line[i] == *s;
        if (n > best) {
            best = n;
            t->separator = *s;
        }
    }
    t->time = SIZE_MAX;
    for (size_t left = size;;) {
        char field[MAX_FIELD];
        double value;
        if (!next_field(field, &line, &left, t->separator))
            return bad_field(t, t->columns, "not a field of a table");
        if (!to_number(&value, field, t->locale)) {
            t->header = 1;
            if (!strcasecmp(field, "timestamp") || !strcasecmp(field, "time"))
                t->time = t->columns;
        }
        if (++t->columns > MAX_COLUMNS)
            return vqi_fail(VQ_E_LIMIT, "line %zu: more than %d columns", t->line, MAX_COLUMNS);
        if (!left)
            break;
        line++;
        left--;
    }
    if (t->time != SIZE_MAX && t->columns == 1)
        t->time = SIZE_MAX;
    return VQ_OK;
}

static vq_status read_names(vq_signal *signal, const table *t, const char *line, size_t left)
{
    vq_status status = vq_dimensions_create(&signal->dimensions, signal->shape[1]);
    for (size_t c = 0, d = 0; !status && c < t->columns; c++) {
        char field[MAX_FIELD];
        if (!next_field(field, &line, &left, t->separator))
            return bad_field(t, c, "not a field of a table");
        if (c != t->time)
            status = vq_dimensions_set_name(signal->dimensions, d++, field);
        if (left) {
            line++;
            left--;
        }
    }
    return status;
}

static vq_status read_row(float *row, double *time, const table *t, const char *line, size_t left)
{
    for (size_t c = 0, d = 0; c < t->columns; c++) {
        char field[MAX_FIELD];
        double value;
        if (c && !left)
            return vqi_fail(VQ_E_FORMAT, "line %zu: %zu columns, not %zu", t->line, c, t->columns);
        if (c) {
            line++;
            left--;
        }
        if (!next_field(field, &line, &left, t->separator))
            return bad_field(t, c, "not a field of a table");
        if (!to_number(&value, field, t->locale))
            return bad_field(t, c, *field ? "not a number" : "the value is missing");
        if (!isfinite((float)value))
            return vqi_fail(VQ_E_NONFINITE, "line %zu, column %zu: %s", t->line, c + 1, field);
        if (c == t->time)
            *time = value;
        else
            row[d++] = (float)value;
    }
    return left ? vqi_fail(VQ_E_FORMAT, "line %zu: more than %zu columns", t->line, t->columns)
                : VQ_OK;
}

static vq_status read_rows(vq_signal *signal, table *t)
{
    const char *line = NULL;
    size_t size = 0;
    double first = 0, last = 0;
    vq_status status = VQ_OK;
    if (t->header && next_line(&line, &size, t))
        status = read_names(signal, t, line, size);
    for (size_t r = 0; !status && next_line(&line, &size, t); r++) {
        double now = 0;
        status = read_row(signal->data + r * signal->shape[1], &now, t, line, size);
        if (!status && t->time != SIZE_MAX && r && !(now > last))
            status = vqi_fail(VQ_E_FORMAT, "line %zu, column %zu: the time does not rise", t->line,
                              t->time + 1);
        first = r ? first : now;
        last = now;
    }
    if (!status && t->time != SIZE_MAX && t->rows > 1)
        signal->rate = (double)(t->rows - 1) / (last - first);
    return status;
}

static vq_status parse(vq_signal **out, table *t, const vq_limits *limits)
{
    const char *line = NULL;
    size_t size = 0;
    const vqi_cursor begin = t->cursor;
    if (!next_line(&line, &size, t))
        return vqi_fail(VQ_E_FORMAT, "an empty table");
    vq_status status = read_first(t, line, size);
    if (status)
        return status;
    t->rows = !t->header;
    while (next_line(&line, &size, t))
        t->rows++;
    if (!t->rows)
        return vqi_fail(VQ_E_FORMAT, "a header and no rows");
    t->cursor = begin;
    t->line = 0;
    const size_t shape[2] = {t->rows, t->columns - (t->time != SIZE_MAX)};
    size_t bytes;
    if (!vqi_mul(&bytes, shape[0], shape[1] * sizeof(float)) || bytes > limits->max_alloc_bytes)
        return vqi_fail(VQ_E_LIMIT, "%zu rows of %zu columns (at most %llu bytes)", shape[0],
                        shape[1], (unsigned long long)limits->max_alloc_bytes);
    /* Each number takes at least a digit and a separator: a short file cannot ask for much. */
    if (bytes / sizeof(float) > vqi_remaining(&begin))
        return vqi_fail(VQ_E_FORMAT, "%zu rows that do not have %zu columns", t->rows, t->columns);
    vq_signal *signal;
    status = vq_signal_create(&signal, VQ_KIND_ACTION, 2, shape);
    if (status)
        return status;
    status = read_rows(signal, t);
    if (status) {
        vq_signal_free(signal);
        return status;
    }
    *out = signal;
    return VQ_OK;
}

vq_status vq_csv_parse(vq_signal **out, const void *data, size_t size, const char *name,
                       const vq_limits *limits)
{
    *out = NULL;
    vq_limits own;
    vq_status status = vq_limits_resolve(&own, limits);
    if (status)
        return status;
    table t = {.cursor = vqi_cursor_of(data, size)};
    if (size >= 3 && !memcmp(data, "\xef\xbb\xbf", 3)) /* a byte order mark says nothing */
        vqi_take(&t.cursor, 3);
    t.locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!t.locale)
        return vqi_fail_nomem(0);
    status = parse(out, &t, &own);
    freelocale(t.locale);
    return status && name ? vqi_fail_in(status, name) : status;
}

typedef struct writer {
    char *text;
    size_t size, room;
} writer;

static void put(writer *w, char c)
{
    if (w->size < w->room)
        w->text[w->size] = c;
    w->size++;
}

static void put_name(writer *w, const char *name)
{
    const int quote = !*name || strpbrk(name, ",;\t\"\n\r") || *name == ' ';
    if (quote)
        put(w, '"');
    for (; *name; name++) {
        if (*name == '"')
            put(w, '"');
        put(w, *name == '\n' || *name == '\r' ? ' ' : *name);
    }
    if (quote)
        put(w, '"');
}

/* The shortest of up to nine digits that gives the number again; a comma of the locale becomes a point. */
static void put_number(writer *w, double value, int digits)
{
    char text[MAX_NUMBER];
    snprintf(text, sizeof text, "%.*g", digits, value);
    for (const char *c = text; *c; c++)
        put(w, *c == ',' ? '.' : *c);
}

/* Would a reader take the name for a name, whatever stands beside it? If not, the column is numbered instead. */
static int is_plain(const char *name)
{
    static const char *const taken[] = {"nan", "inf", "infinity", "time", "timestamp"};
    static const char others[] = "0123456789_./ ,-()[]";
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (!strcasecmp(name, taken[i]))
            return 0;
    for (const char *c = name; *c; c++) {
        const int letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z');
        if (!letter && (c == name || !strchr(others, *c)))
            return 0;
    }
    return *name != 0;
}

static void write_table(writer *w, const vq_signal *signal)
{
    const vq_dimensions *known = signal->dimensions;
    const size_t columns = signal->shape[signal->ndim - 1];
    const size_t rows = vq_signal_count(signal) / columns;
    const int timed = signal->rate > 0, named = known && known->names;
    if (timed)
        for (const char *c = "timestamp"; *c; c++)
            put(w, *c);
    for (size_t c = 0; (timed || named) && c < columns; c++) {
        char number[MAX_NUMBER];
        snprintf(number, sizeof number, "a%zu", c);
        if (c || timed)
            put(w, ',');
        put_name(w, named && is_plain(known->names[c]) ? known->names[c] : number);
    }
    if (timed || named)
        put(w, '\n');
    for (size_t r = 0; r < rows; r++) {
        if (timed)
            put_number(w, (double)r / signal->rate, 12);
        for (size_t c = 0; c < columns; c++) {
            if (c || timed)
                put(w, ',');
            put_number(w, (double)signal->data[r * columns + c], 9);
        }
        put(w, '\n');
    }
}

vq_status vq_csv_serialize(vq_bytes *out, const vq_signal *signal)
{
    out->data = NULL;
    out->size = 0;
    if (signal->kind != VQ_KIND_ACTION)
        return vqi_fail(VQ_E_ARG, "a signal of kind %s is not written as a table",
                        vq_kind_name(signal->kind));
    writer w = {NULL, 0, 0};
    write_table(&w, signal); /* how long is it? */
    w.text = vqi_alloc(w.size, 1);
    if (!w.text)
        return vqi_fail_nomem(w.size);
    w.room = w.size;
    w.size = 0;
    write_table(&w, signal);
    out->data = (uint8_t *)w.text;
    out->size = w.size;
    return VQ_OK;
}
