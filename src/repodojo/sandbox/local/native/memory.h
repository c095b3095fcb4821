/* What all processes of a box but pid 1 hold in memory, from /proc. */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static size_t slurp(const char *path, char *text, size_t room)
{
    int handle = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = handle < 0 ? -1 : read(handle, text, room - 1);

    if (handle >= 0)
        close(handle);
    text[got > 0 ? got : 0] = '\0';
    return got > 0 ? (size_t)got : 0; /* it has ended meanwhile, or hides from its own kin */
}

static long long resident(const char *pid)
{
    char path[64], text[256];
    long long all, here;

    snprintf(path, sizeof path, "/proc/%s/statm", pid);
    slurp(path, text, sizeof text);
    return sscanf(text, "%lld %lld", &all, &here) == 2 ? here * sysconf(_SC_PAGESIZE) : 0;
}

static long long proportional(const char *pid)
{
    char path[64], text[2048], *line;
    long long kib;

    snprintf(path, sizeof path, "/proc/%s/smaps_rollup", pid);
    slurp(path, text, sizeof text);
    line = strstr(text, "\nPss:");
    return line && sscanf(line, " Pss: %lld", &kib) == 1 ? kib * 1024 : resident(pid);
}

static long long sum(long long (*of)(const char *))
{
    DIR *folder = opendir("/proc");
    struct dirent *entry;
    long long total = 0;

    if (!folder)
        return 0;
    while ((entry = readdir(folder)))
        if (isdigit((unsigned char)entry->d_name[0]) && strcmp(entry->d_name, "1"))
            total += of(entry->d_name);
    closedir(folder);
    return total;
}

/* First as the cheap upper bound, then with shared pages counted once. */
static bool memory_over(long long limit)
{
    return sum(resident) > limit && sum(proportional) > limit;
}
