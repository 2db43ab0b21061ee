/* SPDX-License-Identifier: Apache-2.0 */
/* What is to be packed: operands, lists, tables. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "io/file.h"
#include "vqstore.h"

vqstore_item *vqstore_item_add(vqstore_items *items)
{
    if (items->count == items->room) {
        items->room = items->room ? 2 * items->room : 64;
        items->item = cli_need(realloc(items->item, items->room * sizeof *items->item));
    }
    vqstore_item *item = &items->item[items->count++];
    *item = (vqstore_item){0};
    return item;
}

void vqstore_items_clear(vqstore_items *items)
{
    for (size_t i = 0; i < items->count; i++) {
        free(items->item[i].path);
        free(items->item[i].key);
        free(items->item[i].split);
        free(items->item[i].caption);
    }
    for (size_t i = 0; i < items->maps; i++)
        munmap(items->map[i].data, items->map[i].size);
    free(items->item);
    free(items->map);
    *items = (vqstore_items){0};
}

static int is_signal_name(const char *name)
{
    return cli_kind_by_name(name) != NULL;
}

/* A folder's files are called by their path in it; with several operands, by their whole path. */
static int add_operand(vqstore_items *items, const cli_common *common, char *operand, int alone)
{
    if (cli_has_suffix(operand, ".tar"))
        return vqstore_gather_tar(items, common, operand);
    cli_paths paths;
    const int code = cli_expand(&paths, common, &operand, 1, is_signal_name);
    size_t skip = 0;
    if (alone && cli_is_folder(operand))
        skip = strlen(operand) + !cli_has_suffix(operand, "/");
    for (size_t i = 0; !code && i < paths.count; i++) {
        vqstore_item *item = vqstore_item_add(items);
        item->path = cli_copy(paths.path[i]);
        item->key = cli_copy(paths.path[i] + skip);
    }
    cli_paths_clear(&paths);
    return code;
}

static vqstore_item *add_listed(vqstore_items *items, const vqstore_sources *sources,
                                const char *path)
{
    vqstore_item *item = vqstore_item_add(items);
    const int rooted = sources->root && *path != '/';
    item->path = rooted ? cli_format("%s/%s", sources->root, path) : cli_copy(path);
    item->key = cli_copy(path);
    return item;
}

/* The next line, without its end; NULL after the last. */
static char *next_line(char **at)
{
    char *line = *at;
    if (!line || !*line)
        return NULL;
    char *end = strchr(line, '\n');
    *at = end ? end + 1 : NULL;
    if (end)
        *end = '\0';
    char *back = line + strlen(line);
    if (back > line && back[-1] == '\r')
        back[-1] = '\0';
    return line;
}

static int read_text(char **out, const cli_common *common, const char *path)
{
    vq_bytes bytes;
    const vq_status status = vq_file_read(&bytes, path, NULL);
    if (status)
        return cli_fail(common, path, status);
    const int binary = bytes.size && memchr(bytes.data, 0, bytes.size);
    *out = binary ? NULL : cli_need(calloc(bytes.size + 1, 1));
    if (*out)
        memcpy(*out, bytes.data, bytes.size);
    vq_bytes_clear(&bytes);
    return binary ? cli_fault(common, path, "holds a 0: it is not a text") : CLI_DONE;
}

static int add_list(vqstore_items *items, const cli_common *common, const vqstore_sources *sources)
{
    char *text = NULL, *line;
    const int code = read_text(&text, common, sources->list);
    char *at = text;
    while (!code && (line = next_line(&at)))
        if (*line)
            add_listed(items, sources, line);
    free(text);
    return code;
}

/* A field of a table, quotes taken off; NULL if there is none. *at is where the next one begins, or NULL. */
static char *next_field(char **at)
{
    char *field = *at, *to = field, *from = field;
    if (!field)
        return NULL;
    const int quoted = *from == '"';
    from += quoted;
    while (*from && (quoted || *from != ',')) {
        if (quoted && *from == '"' && *++from != '"')
            break;
        *to++ = *from++;
    }
    from += strcspn(from, ",");
    *at = *from ? from + 1 : NULL;
    *to = '\0';
    return field;
}

static int read_label(int64_t *label, const char *text)
{
    char *end;
    errno = 0;
    *label = strtoll(text, &end, 10);
    return *text && !*end && !errno;
}

static int add_csv(vqstore_items *items, const cli_common *common, const vqstore_sources *sources)
{
    char *text = NULL, *line;
    int code = read_text(&text, common, sources->csv), number = 0;
    char *at = text;
    while (!code && (line = next_line(&at))) {
        number++;
        char *rest = *line ? line : NULL;
        const char *path = next_field(&rest), *label = next_field(&rest),
                   *split = next_field(&rest), *caption = next_field(&rest);
        int64_t value = 0;
        if (!path)
            continue;
        if (label && *label && !read_label(&value, label)) {
            if (number > 1) /* the first line may be a header */
                code = cli_fault(common, sources->csv,
                                 "line %d: the label '%s' is not a whole number", number, label);
            continue;
        }
        vqstore_item *item = add_listed(items, sources, path);
        item->has_label = label && *label;
        item->label = value;
        item->split = split && *split ? cli_copy(split) : NULL;
        item->caption = caption && *caption ? cli_copy(caption) : NULL;
    }
    free(text);
    return code;
}

int vqstore_gather(vqstore_items *items, const cli_common *common, const vqstore_sources *sources,
                   char **operands, int count)
{
    *items = (vqstore_items){0};
    int code = CLI_DONE;
    for (int i = 0; !code && i < count; i++)
        code = add_operand(items, common, operands[i], count == 1);
    if (!code && sources->list)
        code = add_list(items, common, sources);
    if (!code && sources->csv)
        code = add_csv(items, common, sources);
    return !code && !items->count ? cli_usage(common, "there is nothing to pack") : code;
}
