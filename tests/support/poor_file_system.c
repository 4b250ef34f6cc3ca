/* A file system without hard links, owners, modes, locks and syncing, as SMB, vfat and some FUSE and container volumes are. */
#include <errno.h>
#include <sys/types.h>

static int refuse(int number) { errno = number; return -1; }

int link(const char *from, const char *to) { (void)from; (void)to; return refuse(EPERM); }
int linkat(int a, const char *b, int c, const char *d, int e) { (void)a; (void)b; (void)c; (void)d; (void)e; return refuse(EPERM); }
int fsync(int fd) { (void)fd; return refuse(EINVAL); }
int fchmod(int fd, mode_t mode) { (void)fd; (void)mode; return refuse(EPERM); }
int fchown(int fd, uid_t user, gid_t group) { (void)fd; (void)user; (void)group; return refuse(EPERM); }
int flock(int fd, int operation) { (void)fd; (void)operation; return refuse(ENOTSUP); }
