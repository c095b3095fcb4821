/* Packets with descriptors beside them, over SEQPACKET sockets. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HANDLES = 8, PACKET = 65536 };

struct message {
    char data[PACKET + 1];
    size_t size;
    int handles[HANDLES];
    int count;
};

union extra {
    char space[CMSG_SPACE(sizeof(int) * HANDLES)];
    struct cmsghdr aligned;
};

/* Wait for a message; false where the other side is gone. */
static bool receive(int end, struct message *message)
{
    union extra extra;
    struct iovec part = {message->data, PACKET};
    struct msghdr head = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = extra.space, .msg_controllen = sizeof extra.space};
    ssize_t got;

    do
        got = recvmsg(end, &head, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    message->count = 0;
    if (got <= 0)
        return false;
    for (struct cmsghdr *block = CMSG_FIRSTHDR(&head); block; block = CMSG_NXTHDR(&head, block))
        if (block->cmsg_level == SOL_SOCKET && block->cmsg_type == SCM_RIGHTS) {
            message->count = (int)((block->cmsg_len - CMSG_LEN(0)) / sizeof(int));
            memcpy(message->handles, CMSG_DATA(block), sizeof(int) * (size_t)message->count);
        }
    message->size = (size_t)got;
    message->data[got] = '\0';
    return true;
}

static bool transmit(int end, const char *data, size_t size, const int *handles, int count)
{
    union extra extra;
    struct iovec part = {(void *)data, size};
    struct msghdr head = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t sent;

    if (count > 0) {
        size_t length = sizeof(int) * (size_t)count;
        memset(&extra, 0, sizeof extra);
        head.msg_control = extra.space;
        head.msg_controllen = CMSG_SPACE(length);
        struct cmsghdr *block = CMSG_FIRSTHDR(&head);
        block->cmsg_level = SOL_SOCKET;
        block->cmsg_type = SCM_RIGHTS;
        block->cmsg_len = CMSG_LEN(length);
        memcpy(CMSG_DATA(block), handles, length);
    }
    do
        sent = sendmsg(end, &head, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)size;
}

static void let_go(struct message *message)
{
    while (message->count > 0)
        close(message->handles[--message->count]);
}
