/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_DEPTH = 64 };

void *cli_need(void *pointer)
{
    if (!pointer) {
        fputs("out of memory\n", stderr);
        exit(CLI_FAILED);
    }
    return pointer;
}

char *cli_copy(const char *text)
{
    return cli_need(strdup(text));
}

char *cli_format(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = cli_need(malloc((size_t)length + 1));
    va_start(args, format);
    vsnprintf(text, (size_t)length + 1, format, args);
    va_end(args);
    return text;
}

static void append(cli_paths *paths, char *path)
{
    if (paths->count == paths->room) {
        paths->room = paths->room ? 2 * paths->room : 64;
        paths->path = cli_need(realloc(paths->path, paths->room * sizeof *paths->path));
    }
    paths->path[paths->count++] = path;
}

void cli_paths_clear(cli_paths *paths)
{
    for (size_t i = 0; i < paths->count; i++)
        free(paths->path[i]);
    free(paths->path);
    *paths = (cli_paths){0};
}

int cli_has_suffix(const char *name, const char *suffix)
{
    const size_t length = strlen(name), tail = strlen(suffix);
    return length >= tail && strcasecmp(name + length - tail, suffix) == 0;
}

int cli_is_picture_name(const char *name)
{
    return cli_has_suffix(name, ".png") || cli_has_suffix(name, ".jpg") ||
           cli_has_suffix(name, ".jpeg");
}

int cli_is_folder(const char *path)
{
    struct stat is;
    return stat(path, &is) == 0 && S_ISDIR(is.st_mode);
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_folder(cli_paths *out, const cli_common *common, const char *folder, int depth,
                      int (*wanted)(const char *name))
{
    DIR *directory = depth < MAX_DEPTH ? opendir(folder) : NULL;
    if (!directory)
        return cli_fault(common, folder, "%s",
                         depth < MAX_DEPTH ? strerror(errno) : "folders are nested too deeply");
    int code = CLI_DONE;
    const struct dirent *entry;
    const char *slash = cli_has_suffix(folder, "/") ? "" : "/";
    while (code == CLI_DONE && (entry = readdir(directory))) {
        if (entry->d_name[0] == '.')
            continue;
        char *path = cli_format("%s%s%s", folder, slash, entry->d_name);
        struct stat is;
        const int known = lstat(path, &is) == 0;
        if (known && S_ISDIR(is.st_mode)) {
            code = add_folder(out, common, path, depth + 1, wanted);
        } else if (known && wanted(entry->d_name) && !cli_is_folder(path)) {
            append(out, path);
            continue;
        }
        free(path);
    }
    closedir(directory);
    return code;
}

int cli_expand(cli_paths *out, const cli_common *common, char **operands, int count,
               int (*wanted)(const char *name))
{
    *out = (cli_paths){0};
    for (int i = 0; i < count; i++) {
        if (!cli_is_folder(operands[i])) {
            append(out, cli_copy(operands[i]));
            continue;
        }
        const size_t first = out->count;
        const int code = add_folder(out, common, operands[i], 0, wanted);
        if (code)
            return code;
        if (out->count == first)
            return cli_fault(common, operands[i], "no usable file in this folder");
        qsort(out->path + first, out->count - first, sizeof *out->path, by_bytes);
    }
    return CLI_DONE;
}

static int same_file(const char *output, const char *input)
{
    struct stat a, b;
    if (strcmp(output, "-") == 0 || stat(output, &a))
        return 0;
    const int known = strcmp(input, "-") == 0 ? fstat(STDIN_FILENO, &b) : stat(input, &b);
    return known == 0 && S_ISREG(a.st_mode) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

int cli_check_output(const cli_common *common, const char *output, char *const *inputs,
                     size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (same_file(output, inputs[i]))
            return cli_usage(common, "%s: the output is also the input, %s (choose another name)",
                             output, cli_input_name(inputs[i]));
    if (strcmp(output, "-") == 0 && common->json)
        return cli_usage(common, "--json and --output - both want standard output");
    if (strcmp(output, "-") == 0 && !common->force && isatty(STDOUT_FILENO))
        return cli_usage(common, "standard output is a terminal (redirect it, or give --force)");
    return CLI_DONE;
}

/** "a/b/photo.png" and ".bin" to "photo.bin" in a folder. */
static char *name_in_folder(const char *folder, const char *input, const char *suffix)
{
    const char *slash = strrchr(input, '/');
    const char *base = slash ? slash + 1 : input;
    const char *dot = strrchr(base, '.');
    const size_t stem = dot && dot > base ? (size_t)(dot - base) : strlen(base);
    return cli_format("%s%s%.*s%s", folder, cli_has_suffix(folder, "/") ? "" : "/", (int)stem, base,
                      suffix);
}

static int refuse_twins(const cli_common *common, const cli_paths *outputs)
{
    cli_paths sorted = {0};
    for (size_t i = 0; i < outputs->count; i++)
        append(&sorted, cli_copy(outputs->path[i]));
    if (sorted.count)
        qsort(sorted.path, sorted.count, sizeof *sorted.path, by_bytes);
    int code = CLI_DONE;
    for (size_t i = 1; i < sorted.count && code == CLI_DONE; i++)
        if (strcmp(sorted.path[i - 1], sorted.path[i]) == 0)
            code =
                cli_usage(common, "%s: two inputs would be written to this name", sorted.path[i]);
    cli_paths_clear(&sorted);
    return code;
}

int cli_plan_outputs(cli_paths *out, const cli_common *common, char **inputs, int count,
                     const char *(*suffix)(const char *input))
{
    *out = (cli_paths){0};
    if (!common->output)
        return cli_usage(common, "no output was named (give --output FILE)");
    const int folder = strcmp(common->output, "-") != 0 && cli_is_folder(common->output);
    if (count > 1 && !folder)
        return cli_usage(common, "%s: several inputs need an existing folder as output",
                         common->output);
    for (int i = 0; i < count; i++) {
        if (folder && strcmp(inputs[i], "-") == 0)
            return cli_usage(common, "standard input has no name to use in a folder");
        append(out, folder ? name_in_folder(common->output, inputs[i], suffix(inputs[i]))
                           : cli_copy(common->output));
    }
    int code = refuse_twins(common, out);
    for (int i = 0; i < count && code == CLI_DONE; i++)
        code = cli_check_output(common, out->path[i], &inputs[i], 1);
    return code;
}
