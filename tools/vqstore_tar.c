/* SPDX-License-Identifier: Apache-2.0 */
/* The members of a tar (POSIX ustar, with GNU's and pax' long names), used where they lie in the mapped file. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vqstore.h"

enum { BLOCK = 512, NAME = 100, SIZE = 124, TYPE = 156, MAGIC = 257, PREFIX = 345 };

/* Text beside a signal, called like it but for what follows the first dot. */
typedef struct side {
    char *base;
    const uint8_t *bytes;
    size_t size;
    int is_label;
} side;

typedef struct sides {
    side *side;
    size_t count, room;
} sides;

static int map_file(vqstore_items *items, const cli_common *common, const char *path,
                    uint8_t **data, size_t *size)
{
    struct stat info;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) || !S_ISREG(info.st_mode) || !info.st_size) {
        const int error = fd < 0 ? errno : 0;
        if (fd >= 0)
            close(fd);
        return cli_fault(common, path, "%s", error ? strerror(error) : "not a file, or empty");
    }
    void *map = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        return cli_fault(common, path, "cannot be mapped (%s)", strerror(errno));
    items->map = cli_need(realloc(items->map, (items->maps + 1) * sizeof *items->map));
    items->map[items->maps].data = map;
    items->map[items->maps++].size = (size_t)info.st_size;
    *data = map;
    *size = (size_t)info.st_size;
    return CLI_DONE;
}

/* An octal number, or GNU's binary one. */
static uint64_t read_size(const uint8_t *field)
{
    uint64_t value = 0;
    if (field[0] & 0x80) {
        for (int i = 4; i < 12; i++)
            value = value << 8 | field[i];
        return value;
    }
    for (int i = 0; i < 12 && field[i]; i++)
        if (field[i] >= '0' && field[i] <= '7')
            value = value * 8 + (uint64_t)(field[i] - '0');
    return value;
}

static int checksum_fits(const uint8_t *header)
{
    unsigned sum = 0, said = 0;
    for (int i = 0; i < BLOCK; i++)
        sum += i >= 148 && i < 156 ? ' ' : header[i];
    for (int i = 148; i < 156; i++)
        if (header[i] >= '0' && header[i] <= '7')
            said = said * 8 + (unsigned)(header[i] - '0');
    return sum == said;
}

/* "path=..." of a pax header, or NULL. */
static char *pax_path(const uint8_t *bytes, size_t size)
{
    const char *at = (const char *)bytes, *end = at + size;
    while (at < end) {
        const size_t length = strtoul(at, NULL, 10);
        const char *space = memchr(at, ' ', (size_t)(end - at));
        if (!space || length < (size_t)(space - at) + 2 || length > (size_t)(end - at))
            return NULL;
        if (length > (size_t)(space - at) + 7 && !strncmp(space + 1, "path=", 5))
            return cli_format("%.*s", (int)(at + length - 1 - (space + 6)), space + 6);
        at += length;
    }
    return NULL;
}

static char *member_name(const uint8_t *header, char **longer)
{
    char *name = *longer;
    *longer = NULL;
    if (name)
        return name;
    const int ustar = !memcmp(header + MAGIC, "ustar\0", 6) && header[PREFIX];
    const char *prefix = (const char *)header + PREFIX, *own = (const char *)header + NAME - NAME;
    return ustar ? cli_format("%.155s/%.100s", prefix, own) : cli_format("%.100s", own);
}

/* What is before the first dot of the last part. */
static size_t base_size(const char *name)
{
    const char *slash = strrchr(name, '/'), *last = slash ? slash + 1 : name;
    return (size_t)(last - name) + strcspn(last, ".");
}

static void add_member(vqstore_items *items, sides *s, const char *tar, char *name, uint8_t *bytes,
                       size_t size)
{
    const int label = cli_has_suffix(name, ".cls");
    if (cli_kind_by_name(name)) {
        vqstore_item *item = vqstore_item_add(items);
        item->path = cli_copy(tar);
        item->key = name;
        item->bytes = bytes;
        item->size = size;
        return;
    }
    if (label || cli_has_suffix(name, ".txt")) {
        if (s->count == s->room) {
            s->room = s->room ? 2 * s->room : 64;
            s->side = cli_need(realloc(s->side, s->room * sizeof *s->side));
        }
        name[base_size(name)] = '\0';
        s->side[s->count++] = (side){name, bytes, size, label};
        return;
    }
    free(name);
}

static int read_members(vqstore_items *items, sides *s, const cli_common *common, const char *path,
                        uint8_t *data, size_t size)
{
    char *longer = NULL;
    size_t at = 0;
    int code = CLI_DONE;
    while (!code && size - at >= BLOCK && data[at]) {
        uint8_t *header = data + at;
        const uint64_t length = read_size(header + SIZE);
        if (!checksum_fits(header) || length > size - at - BLOCK) {
            code = cli_fault(common, path, "byte %zu: not a tar, or cut short", at);
            break;
        }
        uint8_t *bytes = header + BLOCK;
        const char type = (char)header[TYPE];
        if (type == 'L' || type == 'x') {
            free(longer);
            longer = type == 'L' ? cli_format("%.*s", (int)length, (const char *)bytes)
                                 : pax_path(bytes, (size_t)length);
        } else {
            char *name = member_name(header, &longer);
            if (type == '0' || !type)
                add_member(items, s, path, name, bytes, (size_t)length);
            else
                free(name);
        }
        const uint64_t step = BLOCK + (length + BLOCK - 1) / BLOCK * BLOCK;
        at = step > size - at ? size : at + (size_t)step;
    }
    free(longer);
    return code;
}

static int by_base(const void *a, const void *b)
{
    return strcmp(((const side *)a)->base, ((const side *)b)->base);
}

static void give_side(vqstore_item *item, const side *s)
{
    char *text =
        cli_format("%.*s", (int)(s->size < 65536 ? s->size : 65536), (const char *)s->bytes);
    size_t length = strlen(text);
    while (length && (text[length - 1] == '\n' || text[length - 1] == '\r'))
        text[--length] = '\0';
    char *end;
    if (s->is_label) {
        item->label = strtoll(text, &end, 10);
        item->has_label = *text && !*end;
        free(text);
    } else {
        free(item->caption);
        item->caption = text;
    }
}

int vqstore_gather_tar(vqstore_items *items, const cli_common *common, const char *path)
{
    uint8_t *data = NULL;
    size_t size = 0;
    const size_t first = items->count;
    sides s = {0};
    int code = map_file(items, common, path, &data, &size);
    if (!code)
        code = read_members(items, &s, common, path, data, size);
    if (s.count)
        qsort(s.side, s.count, sizeof *s.side, by_base);
    for (size_t i = first; s.count && i < items->count; i++) {
        char *base = cli_format("%.*s", (int)base_size(items->item[i].key), items->item[i].key);
        const side wanted = {.base = base},
                   *found = bsearch(&wanted, s.side, s.count, sizeof *s.side, by_base);
        while (found && found > s.side && !strcmp(found[-1].base, base))
            found--;
        for (; found && found < s.side + s.count && !strcmp(found->base, base); found++)
            give_side(&items->item[i], found);
        free(base);
    }
    for (size_t i = 0; i < s.count; i++)
        free(s.side[i].base);
    free(s.side);
    return code;
}
