/* SPDX-License-Identifier: Apache-2.0 */
/* Plays files, and the files of folders, through a fuzz target when there is no fuzzing engine. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int play_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) {
        perror(path);
        exit(1);
    }
    const long size = ftell(file);
    rewind(file);
    uint8_t *data = malloc(size > 0 ? (size_t)size : 1); /* exact, so that sanitizers see its end */
    if (!data || fread(data, 1, (size_t)size, file) != (size_t)size) {
        perror(path);
        exit(1);
    }
    LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
    fclose(file);
    return 1;
}

static int play(const char *path)
{
    struct stat info;
    if (stat(path, &info)) {
        perror(path);
        exit(1);
    }
    if (!S_ISDIR(info.st_mode))
        return play_file(path);
    DIR *dir = opendir(path);
    if (!dir) {
        perror(path);
        exit(1);
    }
    int count = 0;
    for (const struct dirent *entry; (entry = readdir(dir));) {
        char name[2048];
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.' && !stat(name, &info) && S_ISREG(info.st_mode))
            count += play_file(name);
    }
    closedir(dir);
    return count;
}

int main(int argc, char **argv)
{
    int count = 0;
    for (int i = 1; i < argc; i++)
        count += play(argv[i]);
    printf("%d inputs\n", count);
    return count == 0;
}
