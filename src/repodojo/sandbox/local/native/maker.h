/* The fork server of boxes with the C init: small, so that a fork of it costs little, which the Python one's does not.
 *
 * A box is a child of it, born into namespaces of its own; the kernel reaps those that end.
 */
#include <sched.h>
#include <signal.h>

enum {
    NAMESPACES =
        CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP
};

/* A message's body: in the packet, or in a memory file that comes first among `wanted` + 1 descriptors. */
static char *body_of(char *body, struct message *message, int wanted, size_t *size)
{
    size_t got = 0;

    *size = message->size - (size_t)(body - message->data);
    if (message->count == wanted)
        return body;
    if (message->count != wanted + 1 || !isdigit((unsigned char)*body))
        return NULL;
    *size = strtoul(body, NULL, 10);
    body = malloc(*size + 1);
    for (ssize_t part = 1; body && part > 0 && got < *size; got += part > 0 ? (size_t)part : 0)
        part = pread(message->handles[0], body + got, *size - got, (off_t)got);
    if (!body || got < *size)
        return NULL;
    body[*size] = '\0';
    return body;
}

static void tell_failure(int end, const struct step *step, int error)
{
    char text[1024];
    int length = snprintf(text, sizeof text, "{\"failed\": \"step %c %s %s: %s", step->letter,
                          step->field[0] && step->letter != 'S' ? step->field[0] : "",
                          step->letter == 'M' && step->field[1] ? step->field[1] : "", strerror(error));

    if (length > (int)sizeof text - 3)
        length = (int)sizeof text - 3;
    for (int i = 12; i < length; i++) /* JSON's own signs, and what no line of a log should hold */
        if (text[i] == '"' || text[i] == '\\' || (unsigned char)text[i] < ' ' || (unsigned char)text[i] > '~')
            text[i] = '?';
    memcpy(text + length, "\"}", 3);
    transmit(end, text, (size_t)length + 2, NULL, 0);
}

/* From here on a box: its body is its memory in bytes, a NUL, and steps. */
static void become_box(char *body, struct message *message)
{
    struct step step = {0};
    char *steps;
    size_t size;

    signal(SIGCHLD, SIG_DFL);
    if (message->count < 1 || !(steps = body_of(body, message, 1, &size)))
        _exit(1);
    dup2(message->handles[message->count - 1], CONTROL);
    fcntl(CONTROL, F_SETFD, FD_CLOEXEC);
    syscall(SYS_close_range, UPPER, ~0U, 0);
    memory_limit = atoll(steps);
    if (!perform(steps + strlen(steps) + 1, steps + size, UPPER, &step)) {
        tell_failure(CONTROL, &step, errno);
        _exit(1);
    }
    if (steps != body)
        free(steps);
    message->count = 0;
}

/* Make boxes until the host is gone; returns in each of them. */
static void make_boxes(void)
{
    static const struct step birth = {.letter = 'B'};

    signal(SIGCHLD, SIG_IGN);
    while (receive(CONTROL, &asked)) {
        char *body = asked.data + strcspn(asked.data, " ") + 1;
        long pid = syscall(SYS_clone, (unsigned long)NAMESPACES | SIGCHLD, 0, 0, 0, 0);

        if (!pid) {
            become_box(body, &asked);
            return;
        }
        if (pid < 0 && asked.count)
            tell_failure(asked.handles[asked.count - 1], &birth, errno);
        let_go(&asked);
    }
    _exit(0);
}
