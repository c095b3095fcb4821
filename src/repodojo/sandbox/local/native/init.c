/* Pid 1 of a box, in place of the Python one (init.py): it starts cold commands, and leaves nothing of them alive.
 *
 * Executed by zygote.py once the box is built and confined, as `init MEMORY_BYTES`, with the host's SEQPACKET socket as
 * descriptor 3 and the overlay's upper folder as 4. A message is one packet: a letter, a number, a space, a body.
 *
 *   X  run a command; the body is CWD, ARGC, each argument, each variable, all ended by NUL, or where that is too long
 *      for a packet its length in digits, and the first descriptor is a memory file of it. Then stdin, output, report.
 *   W  run a command in a fork of the warm interpreter, F do something with files: passed on to the keeper as it is
 *   S  the descriptor beside it leads to the keeper (keeper.py), a Python process of the fork server in this box
 *   K  kill all that runs here; it has no answer
 *
 * Answers are JSON objects with the number as "id". Failures that a command could bring about are answers, and so is
 * the loss of the keeper, which is an outage. Where the host is gone, or this process cannot go on, it ends, and the
 * kernel ends the box with it.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "command.h"
#include "memory.h"
#include "messages.h"

enum { CONTROL = 3, UPPER = 4, TICK_MS = 50, PATIENCE_S = 10 };

static struct message asked, told; /* from the host while idle; from the keeper, or from the host while a job runs */
static int keeper = -1;
static long long memory_limit;

static void give_up(const char *what)
{
    perror(what);
    _exit(1);
}

static void answer(const char *text)
{
    if (!transmit(CONTROL, text, strlen(text), NULL, 0))
        _exit(0); /* the host is gone */
}

/* ---------------------------------------------------------------- jobs */

static void kill_all(void)
{
    kill(-1, SIGKILL); /* ESRCH: there is nobody */
}

static void leave_nothing(void)
{
    time_t deadline = time(NULL) + PATIENCE_S;

    do {
        kill_all();
        while (waitpid(-1, NULL, 0) > 0)
            ;
    } while (errno != ECHILD && time(NULL) < deadline);
}

/* Orphans end up here; unreaped they would count against the box's processes. */
static void reap_others(pid_t job)
{
    siginfo_t done;

    for (;;) {
        done.si_pid = 0;
        if (waitid(P_ALL, 0, &done, WEXITED | WNOHANG | WNOWAIT) < 0 || !done.si_pid || done.si_pid == job)
            return;
        waitpid(done.si_pid, NULL, 0);
    }
}

/* Wait until `end` can be read (a pidfd, or the keeper), killing all where the host says so or memory runs over. */
static const char *watch(int end, pid_t job)
{
    struct pollfd ends[] = {{end, POLLIN, 0}, {CONTROL, POLLIN, 0}};

    for (;;) {
        if (poll(ends, 2, TICK_MS) < 0 && errno != EINTR)
            give_up("poll");
        if (ends[0].revents)
            return "";
        if (ends[1].revents) {
            if (!receive(CONTROL, &told))
                _exit(0);
            let_go(&told);
            if (told.data[0] == 'K') {
                kill_all();
                return "host";
            }
        } else if (memory_over(memory_limit)) {
            kill_all();
            return "memory";
        }
        reap_others(job);
    }
}

static void finish(long id, int code, const char *reason)
{
    char text[128];

    leave_nothing();
    snprintf(text, sizeof text, "{\"id\": %ld, \"code\": %d, \"reason\": \"%s\"}", id, code, reason);
    answer(text);
}

static void run(long id, struct message *message, struct command *command)
{
    const int *handles = message->handles + message->count - 3;
    const char *why;
    pid_t pid = start(command, handles, &why);
    int error = errno, job, status = 0;
    char text[128];

    if (pid < 0) {
        dprintf(handles[1], "%s: %s\n", command->argv[0], why ? why : strerror(error));
        snprintf(text, sizeof text, "{\"id\": %ld, \"code\": %d, \"reason\": \"\"}", id, error == ENOENT ? 127 : 126);
    }
    let_go(message); /* held here, the output pipe would never end */
    if (chdir("/") < 0)
        give_up("chdir");
    if (pid < 0) {
        answer(text);
        return;
    }
    if ((job = (int)syscall(SYS_pidfd_open, pid, 0)) < 0)
        give_up("pidfd_open");
    const char *reason = watch(job, pid);
    close(job);
    if (waitpid(pid, &status, 0) < 0)
        give_up("waitpid");
    finish(id, WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status), reason);
}

/* A command whose body is in the packet, or in a memory file. */
static void execute(long id, char *body, struct message *message)
{
    struct command command = {0};
    size_t size = message->size - (size_t)(body - message->data), got = 0;
    char *copy = NULL;

    if (isdigit((unsigned char)*body) && message->count == 4) {
        size = strtoul(body, NULL, 10);
        body = copy = malloc(size + 1);
        for (ssize_t part = 1; copy && part > 0 && got < size; got += part > 0 ? (size_t)part : 0)
            part = pread(message->handles[0], copy + got, size - got, (off_t)got);
        if (!copy || got < size)
            give_up("a long command");
        copy[size] = '\0';
    }
    if (message->count < 3 || !parse(body, size, &command))
        give_up("a command that cannot be read");
    run(id, message, &command);
    free(command.argv);
    free(copy);
}

/* ---------------------------------------------------------------- what the keeper does */

static void lost(long id)
{
    char text[128];

    snprintf(text, sizeof text, "{\"id\": %ld, \"lost\": \"the box's keeper is gone\"}", id);
    leave_nothing();
    answer(text);
}

static void pass_on(long id, char *body, struct message *message, bool job)
{
    size_t size = message->size - (size_t)(body - message->data);
    bool sent = keeper >= 0 && transmit(keeper, body, size, message->handles, message->count);
    const char *reason;

    let_go(message);
    if (!sent) {
        lost(id);
        return;
    }
    reason = job ? watch(keeper, -1) : "";
    if (!receive(keeper, &told))
        lost(id);
    else if (job) /* the job's exit code; what it left behind are children of this process now */
        finish(id, atoi(told.data), reason);
    else
        answer(told.data);
    let_go(&told);
}

static void take_keeper(struct message *message)
{
    static const char hello[] = "{\"op\": \"upper\"}";

    if (message->count != 1)
        give_up("a keeper without a socket");
    if (keeper >= 0)
        close(keeper);
    keeper = message->handles[--message->count];
    const int upper = UPPER;
    transmit(keeper, hello, sizeof hello - 1, &upper, 1); /* where it is gone, the next message finds that out */
}

int main(int argc, char **argv)
{
    if (argc != 2 || (memory_limit = atoll(argv[1])) <= 0)
        give_up("usage: init MEMORY_BYTES");
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) /* exec has set it again; jobs run as the same user */
        give_up("prctl");
    if (fcntl(CONTROL, F_SETFD, FD_CLOEXEC) < 0 || fcntl(UPPER, F_SETFD, FD_CLOEXEC) < 0)
        give_up("fcntl");
    answer("{\"ready\": true}");
    while (receive(CONTROL, &asked)) {
        char *body;
        long id = strtol(asked.data + 1, &body, 10);

        body += *body == ' ';
        switch (asked.data[0]) {
        case 'X':
            execute(id, body, &asked);
            break;
        case 'W':
        case 'F':
            pass_on(id, body, &asked, asked.data[0] == 'W');
            break;
        case 'S':
            take_keeper(&asked);
            break;
        default: /* K while nothing runs */
            break;
        }
        let_go(&asked);
    }
    return 0;
}
