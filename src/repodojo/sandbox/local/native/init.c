/* Pid 1 of a box, in place of the Python one (init.py): it starts cold commands, and leaves nothing of them alive.
 *
 * Executed by zygote.py as `init serve`, with the host's SEQPACKET socket as descriptor 3, it forks boxes (maker.h). Each
 * fork builds and confines itself (steps.h) and goes on here, with its own socket as descriptor 3 and the overlay's
 * upper folder as 4. A message is one packet: a letter, a number, a space, a body.
 *
 *   B  (to the fork server) make a box; the body is its memory in bytes, NUL, steps, and the descriptor its socket
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
#include "steps.h"

enum { CONTROL = 3, UPPER = 4, TICK_MS = 50, PATIENCE_S = 10 };

static struct message asked, told; /* from the host while idle; from the keeper, or from the host while a job runs */
static int keeper = -1;
static long long memory_limit;

static void give_up(const char *what)
{
    perror(what);
    _exit(1);
}

#include "maker.h"

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

/* Without children there is nobody: orphans are ours. To kill looks at every process of the machine, so not in vain. */
static bool alone(void)
{
    siginfo_t done;

    return waitid(P_ALL, 0, &done, WEXITED | WNOHANG | WNOWAIT) < 0 && errno == ECHILD;
}

static void leave_nothing(void)
{
    time_t deadline = time(NULL) + PATIENCE_S;

    while (!alone() && time(NULL) < deadline) {
        kill_all();
        while (waitpid(-1, NULL, 0) > 0)
            ;
    }
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

static void execute(long id, char *packed, struct message *message)
{
    struct command command = {0};
    size_t size;
    char *body = body_of(packed, message, 3, &size);

    if (!body || !parse(body, size, &command))
        give_up("a command that cannot be read");
    run(id, message, &command);
    free(command.argv);
    if (body != packed)
        free(body);
}

/* ---------------------------------------------------------------- what the keeper does */

static void lost(long id)
{
    char text[128];

    snprintf(text, sizeof text, "{\"id\": %ld, \"lost\": \"the box's keeper is gone\"}", id);
    kill_all(); /* what it ran is no child of ours */
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

/* Hand a keeper the overlay's upper folder and the box's namespaces; where it is gone, the next message finds that out. */
static void take_keeper(struct message *message)
{
    static const char hello[] = "{\"op\": \"upper\"}", *kinds[] = {"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"};
    enum { KINDS = sizeof kinds / sizeof *kinds };
    int handles[1 + KINDS] = {UPPER};
    char path[32];

    if (message->count != 1)
        give_up("a keeper without a socket");
    if (keeper >= 0)
        close(keeper);
    keeper = message->handles[--message->count];
    for (int i = 0; i < KINDS; i++) {
        snprintf(path, sizeof path, "/proc/self/ns/%s", kinds[i]);
        if ((handles[1 + i] = open(path, O_RDONLY | O_CLOEXEC)) < 0)
            give_up(path);
    }
    transmit(keeper, hello, sizeof hello - 1, handles, 1 + KINDS);
    for (int i = 0; i < KINDS; i++)
        close(handles[1 + i]);
}

/* Serve the host until it is gone. */
static void attend(void)
{
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
}

int main(int argc, char **argv)
{
    if (argc != 2 || strcmp(argv[1], "serve"))
        give_up("usage: init serve");
    make_boxes();
    attend();
    return 0;
}
