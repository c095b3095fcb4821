/* A command: read from a message, found as a shell would find it, started. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REPORT = 3 };

struct command {
    char *cwd, **argv, **env;
};

/* The file that a name stands for, as a shell would find it; NULL where there is none. */
static char *found(const char *name, char **env)
{
    static char path[4096];
    const char *folders = "";
    struct stat status;

    for (; *env; env++)
        if (!strncmp(*env, "PATH=", 5))
            folders = *env + 5;
    if (strchr(name, '/'))
        folders = "";
    for (;;) {
        int length = (int)strcspn(folders, ":");
        if (strchr(name, '/') || !length)
            snprintf(path, sizeof path, "%s", name);
        else
            snprintf(path, sizeof path, "%.*s/%s", length, folders, name);
        if (!access(path, X_OK) && !stat(path, &status) && !S_ISDIR(status.st_mode))
            return path;
        if (!folders[length])
            return NULL;
        folders += length + 1;
    }
}

static void become(const struct command *command, const char *path, const int *handles)
{
    static const int reset[] = {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (size_t i = 0; i < sizeof reset / sizeof *reset; i++)
        signal(reset[i], SIG_DFL);
    if (setsid() >= 0 && dup2(handles[0], 0) >= 0 && dup2(handles[1], 1) >= 0 && dup2(handles[1], 2) >= 0 &&
        dup2(handles[2], REPORT) >= 0)
        execve(path, command->argv, command->env);
}

/* Start a command with (stdin, output, report) as its descriptors 0, 1 and 2, 3; its pid, or -1 with errno. */
static pid_t start(const struct command *command, const int *handles, const char **why)
{
    volatile int failed = 0; /* the child shares this memory until it is another program */
    char *path;
    pid_t pid;

    *why = NULL;
    if (chdir(command->cwd) < 0)
        return -1;
    if (!(path = found(command->argv[0], command->env))) {
        *why = "no such command";
        errno = ENOENT;
        return -1;
    }
    pid = vfork();
    if (!pid) {
        become(command, path, handles);
        failed = errno;
        _exit(127);
    }
    if (pid > 0 && failed) {
        waitpid(pid, NULL, 0);
        errno = failed;
        return -1;
    }
    return pid;
}

static bool parse(char *body, size_t size, struct command *command)
{
    char *end = body + size, *rest;
    size_t fields = 0, i = 0;
    char **words;

    for (char *at = body; at < end; at++)
        fields += !*at;
    rest = body + strlen(body) + 1;
    size_t argc = fields < 3 ? 0 : strtoul(rest, NULL, 10);
    if (!argc || argc + 2 > fields || !(words = calloc(fields + 2, sizeof *words)))
        return false;
    command->cwd = body;
    command->argv = words;
    command->env = words + argc + 1;
    for (rest += strlen(rest) + 1; rest < end; rest += strlen(rest) + 1, i++)
        words[i < argc ? i : i + 1] = rest; /* a NULL stays between them, and one behind */
    return i >= argc;
}
