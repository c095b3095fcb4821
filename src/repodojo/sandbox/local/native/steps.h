/* The steps that make a box (steps.py): a letter and its fields, each performed here as Python would.
 *
 * A step is its letter, its number of fields, and each field: four bytes of length, the bytes, a NUL.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { FIELDS = 5, LAST_CAPABILITY = 63, MOUNT_SETATTR = 442, ATTR_RDONLY = 1, FILTER = 2 };

struct step {
    char letter;
    const char *field[FIELDS];
    size_t size[FIELDS];
};

/* The step at `at`, and where the next one begins; NULL where there is none that can be read. */
static const char *read_step(const char *at, const char *end, struct step *step)
{
    uint32_t size;
    int count;

    if (end - at < 2)
        return NULL;
    memset(step, 0, sizeof *step);
    step->letter = *at++;
    if ((count = *at++) > FIELDS)
        return NULL;
    for (int i = 0; i < count; i++) {
        if (end - at < (ptrdiff_t)sizeof size)
            return NULL;
        memcpy(&size, at, sizeof size);
        at += sizeof size;
        if (end - at <= (ptrdiff_t)size)
            return NULL;
        step->field[i] = at;
        step->size[i] = size;
        at += size + 1;
    }
    return at;
}

static bool write_file(const char *path, mode_t mode, const char *data, size_t size)
{
    int handle = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    ssize_t put = 0;
    bool done;

    if (handle < 0)
        return false;
    for (; size > 0 && (put = write(handle, data, size)) > 0; size -= (size_t)put)
        data += put;
    done = !size && (!mode || !fchmod(handle, mode));
    int error = errno;
    close(handle);
    errno = error;
    return done;
}

static bool make_folder(const char *path, mode_t mode)
{
    return !mkdir(path, mode) ? !chmod(path, mode) : errno == EEXIST;
}

/* Not pivot_root: that looks at every process of the machine, see cover_root in syscalls.py. */
static bool enter_root(const char *path)
{
    return !chdir(path) && !mount(".", "/", NULL, MS_MOVE, NULL) && !chroot(".") && !chdir("/");
}

static bool loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int handle = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool done = handle >= 0 && !ioctl(handle, SIOCSIFFLAGS, &request);

    if (handle >= 0)
        close(handle);
    return done;
}

/* No exec can win anything back. */
static bool drop_privileges(void)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {0};

    umask(022);
    for (unsigned long i = 0; i <= LAST_CAPABILITY; i++)
        if (prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0)
            break; /* past the last one this kernel knows */
    return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) &&
           !syscall(SYS_capset, &head, none) && !prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static bool set_limit(int kind, rlim_t value)
{
    struct rlimit limit;

    if (getrlimit(kind, &limit) < 0)
        return false;
    if (limit.rlim_max == RLIM_INFINITY || value < limit.rlim_max)
        limit.rlim_max = value;
    limit.rlim_cur = limit.rlim_max;
    return !setrlimit(kind, &limit);
}

static bool install_filter(const char *steps, size_t size)
{
    struct {
        unsigned short length;
        const char *steps;
    } program = {(unsigned short)(size / 8), steps};

    return !prctl(PR_SET_SECCOMP, FILTER, &program, 0, 0);
}

/* One step; false with errno. What is kept becomes the descriptor `kept`. */
static bool perform_one(const struct step *step, int kept)
{
    static const uint64_t read_only[4] = {ATTR_RDONLY};
    const char *const *field = step->field;
    int handle;

    switch (step->letter) {
    case 'M':
        return !mount(field[0], field[1], step->size[2] ? field[2] : NULL, strtoul(field[3], NULL, 10), field[4]);
    case 'D':
        return make_folder(field[0], (mode_t)strtoul(field[1], NULL, 10));
    case 'L':
        return !symlink(field[0], field[1]);
    case 'F':
        return write_file(field[0], (mode_t)strtoul(field[1], NULL, 10), field[2], step->size[2]);
    case 'U':
        return !unlink(field[0]) || errno == ENOENT;
    case 'A':
        return !syscall(MOUNT_SETATTR, AT_FDCWD, field[0], 0, read_only, sizeof read_only);
    case 'O':
        handle = open(field[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (handle < 0 || handle == kept)
            return handle >= 0;
        return dup3(handle, kept, O_CLOEXEC) >= 0 && !close(handle);
    case 'P':
        return enter_root(field[0]);
    case 'N':
        return loopback_up();
    case 'H':
        return !sethostname(field[0], step->size[0]);
    case 'C':
        return drop_privileges();
    case 'R':
        return set_limit(atoi(field[0]), strtoull(field[1], NULL, 10));
    case 'S':
        return install_filter(field[0], step->size[0]);
    }
    errno = ENOSYS;
    return false;
}

/* All steps; false with what failed in `step`, and errno. */
static bool perform(const char *at, const char *end, int kept, struct step *step)
{
    while (at < end) {
        if (!(at = read_step(at, end, step))) {
            errno = EBADMSG;
            return false;
        }
        if (!perform_one(step, kept))
            return false;
    }
    return true;
}
