/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    if (interrupted) { /* the second time: the user insists */
        signal(number, SIG_DFL);
        raise(number);
    }
    interrupted = 1;
}

void cli_catch_signals(void)
{
    const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction action = {.sa_handler = on_signal}, before;
        sigemptyset(&action.sa_mask);
        /* A program started in the background, or by nohup, keeps ignoring what it was told to ignore. */
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
    }
}

void cli_guard_streams(void)
{
    /* The wrong direction on purpose: whoever uses a stream that the caller closed is to be told. */
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            _exit(CLI_FAILED);
}

void cli_ignore_sigpipe(void)
{
    signal(SIGPIPE, SIG_IGN);
#ifdef SIGXFSZ
    signal(SIGXFSZ,
           SIG_IGN); /* a file-size limit likewise is an error of write(), with a message */
#endif
}

int cli_interrupted(void)
{
    return interrupted != 0;
}

double cli_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void cli_progress_start(cli_progress *progress, const cli_common *common)
{
    *progress =
        (cli_progress){.on = !common->quiet && isatty(STDERR_FILENO), .started = cli_seconds()};
}

int cli_progress_show(cli_progress *progress, const char *what, double done, double total,
                      const char *unit)
{
    const double interval = 1.0 / 6;
    const double now = progress->on ? cli_seconds() : 0;
    if (!progress->on || now - progress->started < interval || now - progress->last < interval)
        return cli_interrupted();
    progress->last = now;
    progress->drawn = 1;
    fprintf(stderr, "\r%s", what);
    if (total > 0)
        fprintf(stderr, ": %.0f of %.0f %s", done, total, unit);
    if (total > 0 && done > progress->base) {
        const double rate = (done - progress->base) / (now - progress->started);
        const long left = (long)((total - done) / rate + 0.5);
        fprintf(stderr, ", %.3g/s, %ld:%02ld left", rate, left / 60, left % 60);
    }
    fputs("\033[K", stderr);
    return cli_interrupted();
}

void cli_progress_clear(cli_progress *progress)
{
    if (progress->drawn)
        fputs("\r\033[K", stderr);
    progress->drawn = 0;
}
