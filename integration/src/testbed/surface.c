/* Tries what an agent must not have of the kernel, and prints a line for each: NAME ok, or NAME and the error.
 *
 * Raw system calls, since a library may answer in the kernel's place. It refuses to run outside a container. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *name, long result)
{
    int error = errno;
    if (result >= 0)
        printf("%s ok\n", name);
    else
        printf("%s %d %s\n", name, error, strerror(error));
    fflush(stdout);
}

static long sock(uint64_t family, uint64_t kind, uint64_t protocol)
{
    long fd = syscall(SYS_socket, family, kind, protocol);
    if (fd >= 0)
        close(fd);
    return fd;
}

/* Opens, and reads or writes a little: a masked file opens and is empty. */
static long try_file(const char *path, int flags, const char *text)
{
    char byte;
    int fd = open(path, flags | O_NONBLOCK);
    if (fd < 0)
        return -1;
    long done = text ? write(fd, text, strlen(text)) : read(fd, &byte, 1);
    int error = errno;
    close(fd);
    errno = done == 0 ? ENODATA : error;
    return done > 0 ? 0 : -1;
}

static long node(mode_t kind, dev_t device)
{
    long made = mknod("/tmp/node", kind | 0600, device);
    if (made == 0) {
        int fd = open("/tmp/node", O_RDONLY | O_NONBLOCK);
        int error = errno;
        unlink("/tmp/node");
        if (fd >= 0)
            close(fd);
        errno = error;
        return fd;
    }
    return made;
}

/* In a child, since success changes the process. */
static long in_child(long (*attempt)(void))
{
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(attempt() < 0 ? errno : 0);
    if (child < 0 || waitpid(child, &status, 0) < 0)
        return -1;
    if (WIFSIGNALED(status)) {
        errno = EFAULT;
        return -1;
    }
    errno = WEXITSTATUS(status);
    return errno ? -1 : 0;
}

static long new_user(void) { return syscall(SYS_unshare, CLONE_NEWUSER); }
static long new_mounts(void) { return syscall(SYS_unshare, CLONE_NEWNS); }
static long new_name(void) { return syscall(SYS_sethostname, "other", 5); }
static long new_root(void) { return syscall(SYS_chroot, "/tmp"); }
static long mount_memory(void) { return syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, 0); }
static long join_host(void)
{
    int fd = open("/proc/1/ns/uts", O_RDONLY);
    return fd < 0 ? -1 : syscall(SYS_setns, fd, CLONE_NEWUTS);
}
static long clone_user(void)
{
    long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (child == 0)
        _exit(0);
    return child;
}

/* A route, as `ip route add 203.0.113.0/24 dev lo` asks for it. */
static long add_route(void)
{
    struct {
        uint32_t length;
        uint16_t type, flags;
        uint32_t sequence, port;
        uint8_t family, prefix, source, tos, table, protocol, scope, kind;
        uint32_t route_flags;
        uint16_t dst_length, dst_type;
        uint8_t dst[4];
        uint16_t link_length, link_type;
        uint32_t link;
    } ask = {sizeof ask, 24, 0x605, 1, 0, AF_INET, 24, 0, 0, 254, 3, 253, 1, 0, 8, 1, {203, 0, 113, 0}, 8, 4, 1};
    struct {
        uint32_t length;
        uint16_t type, flags;
        uint32_t sequence, port;
        int32_t error;
        char rest[256];
    } answer;
    int fd = syscall(SYS_socket, 16, SOCK_RAW, 0);
    if (fd < 0 || send(fd, &ask, sizeof ask, 0) < 0 || recv(fd, &answer, sizeof answer, 0) < 20)
        return -1;
    errno = -answer.error;
    return answer.error ? -1 : 0;
}

#ifdef __x86_64__
/* The 32-bit socketcall(SYS_SOCKET, {family, SOCK_STREAM, 0}), which hides the family behind a pointer. */
static long family_32;
static long socketcall_32(void)
{
    uint32_t *arguments = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    long result;
    if (arguments == MAP_FAILED)
        return -1;
    arguments[0] = family_32;
    arguments[1] = SOCK_STREAM;
    arguments[2] = 0;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(102), "b"(1L), "c"(arguments) : "memory", "r8", "r9", "r10", "r11");
    if ((int)result < 0) {
        errno = -(int)result;
        return -1;
    }
    return 0;
}
static long socket_32(void)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(359), "b"(family_32), "c"(1L), "d"(0L) : "memory", "r8", "r9", "r10", "r11");
    if ((int)result < 0) {
        errno = -(int)result;
        return -1;
    }
    return 0;
}
#endif

/* A copy of this program that belongs to root and is set-uid, run by another user: who is it? */
static long become_root(void)
{
    char self[200] = {0}, command[256];
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
        return -1;
    snprintf(command, sizeof command, "cp %s /tmp/set-uid && chmod 4755 /tmp/set-uid", self);
    if (system(command) != 0)
        return -1;
    int status;
    pid_t child = fork();
    if (child == 0) {
        if (setgid(1000) || setuid(1000))
            _exit(99);
        execl("/tmp/set-uid", "set-uid", "whoami", (char *)0);
        _exit(98);
    }
    waitpid(child, &status, 0);
    unlink("/tmp/set-uid");
    errno = EPERM;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

/* Writes what is there already. */
static long rewrite(const char *path)
{
    char value[64];
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return -1;
    long length = read(fd, value, sizeof value - 1);
    close(fd);
    if (length <= 0)
        return -1;
    value[length] = 0;
    return try_file(path, O_WRONLY, value);
}

static long new_group(void)
{
    int second = access("/sys/fs/cgroup/cgroup.procs", F_OK) == 0;
    const char *place = second ? "/sys/fs/cgroup/ringfence-surface" : "/sys/fs/cgroup/pids/ringfence-surface";
    return mkdir(place, 0700) == 0 ? rmdir(place) : -1;
}

int main(int count, char **arguments)
{
    if (count > 1 && strcmp(arguments[1], "whoami") == 0)
        return geteuid() == 0 ? 0 : 1;
    /* What succeeds here changes a machine: never outside a container. The first of all PID namespaces has a fixed number. */
    char namespace[64] = {0};
    if (readlink("/proc/self/ns/pid", namespace, sizeof namespace - 1) < 0 || !strcmp(namespace, "pid:[4026531836]")) {
        fprintf(stderr, "surface: this is no container\n");
        return 2;
    }

    /* What ordinary programs need. */
    say("unix", sock(AF_UNIX, SOCK_STREAM, 0));
    say("inet", sock(AF_INET, SOCK_STREAM, 0));
    say("netlink-route", sock(16, SOCK_RAW, 0));
    int pair[2];
    say("socketpair-unix", syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, pair));

    say("vsock", sock(40, SOCK_STREAM, 0));
    say("vsock-high-bits", sock(40 | (1ULL << 32), SOCK_STREAM, 0));
    say("alg", sock(38, SOCK_SEQPACKET, 0));
    say("alg-high-bits", sock(38 | (1ULL << 32), SOCK_SEQPACKET, 0));
    say("packet", sock(17, SOCK_RAW, 0));
    say("key", sock(15, SOCK_RAW, 2));
    say("tipc", sock(30, SOCK_STREAM, 0));
    say("bluetooth", sock(31, SOCK_RAW, 1));
    say("xdp", sock(44, SOCK_RAW, 0));
    say("netlink-netfilter", sock(16, SOCK_RAW, 12));
    say("netlink-xfrm", sock(16, SOCK_RAW, 6));
    say("socketpair-tipc", syscall(SYS_socketpair, 30, SOCK_STREAM, 0, pair));
    say("raw", sock(AF_INET, SOCK_RAW, 1));
    say("route", add_route());
#ifdef __x86_64__
    family_32 = AF_INET;
    say("socketcall-32-inet", in_child(socketcall_32));
    say("socket-32-inet", in_child(socket_32));
    family_32 = 40;
    say("socketcall-32-vsock", in_child(socketcall_32));
    say("socket-32-vsock", in_child(socket_32));
#endif
    char zeros[256] = {0};
    say("io-uring", syscall(SYS_io_uring_setup, 4, zeros));
    say("mount", in_child(mount_memory));
    say("unshare-user", in_child(new_user));
    say("unshare-mounts", in_child(new_mounts));
    say("clone-user", clone_user());
    say("setns", in_child(join_host));
    say("sethostname", in_child(new_name));
    say("chroot", in_child(new_root));
    say("process-vm-readv", syscall(SYS_process_vm_readv, (long)getpid(), 0L, 0L, 0L, 0L, 0L));
    say("pkey-alloc", syscall(SYS_pkey_alloc, 0L, 0L));
    say("fchmodat2", syscall(452, -1L, "x", 0644L, 0L));
    say("keyctl", syscall(SYS_keyctl, 0, -3L, 1L));
    say("add-key", syscall(SYS_add_key, "user", "ringfence", "x", 1L, -2L));
    say("bpf", syscall(SYS_bpf, 0, zeros, 48L));
    say("perf", syscall(SYS_perf_event_open, zeros, 0L, -1L, -1L, 0L));
    say("userfaultfd", syscall(SYS_userfaultfd, 0L));
    say("open-by-handle", syscall(SYS_open_by_handle_at, AT_FDCWD, zeros, O_RDONLY));
    say("syslog", syscall(SYS_syslog, 10L, 0L, 0L));
    say("node-char", node(S_IFCHR, makedev(1, 3)));
    say("node-memory", node(S_IFCHR, makedev(1, 1)));
    say("node-fifo", node(S_IFIFO, 0));
    say("kmsg", try_file("/dev/kmsg", O_RDONLY, 0));
    say("memory", try_file("/dev/mem", O_RDONLY, 0));
    say("kcore", try_file("/proc/kcore", O_RDONLY, 0));
    say("keys", try_file("/proc/keys", O_RDONLY, 0));
    say("timers", try_file("/proc/timer_list", O_RDONLY, 0));
    say("sysrq", try_file("/proc/sysrq-trigger", O_WRONLY, "h"));
    say("sysctl", rewrite("/proc/sys/vm/swappiness"));
    say("core-pattern", open("/proc/sys/kernel/core_pattern", O_WRONLY));
    say("sys", open("/sys/kernel/uevent_helper", O_WRONLY));
    say("cgroup", new_group());
    say("cgroup-limit", rewrite(access("/sys/fs/cgroup/pids.max", F_OK) == 0 ? "/sys/fs/cgroup/pids.max" : "/sys/fs/cgroup/pids/pids.max"));
    say("set-uid", become_root());
    char line[256];
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (!strncmp(line, "CapBnd", 6) || !strncmp(line, "CapPrm", 6) || !strncmp(line, "NoNewPrivs", 10) || !strncmp(line, "Seccomp:", 8))
            printf("%s", line);
    return 0;
}
