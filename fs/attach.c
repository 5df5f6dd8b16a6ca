/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounting and unmounting. fusermount3(1), which is setuid root, hands the opened device back
 * over a socket whose number it finds in $_FUSE_COMMFD. It is spawned, never forked, because the
 * store's threads run already. auto_unmount is not used: it keeps a dead mount from being seen.
 */
#include "fs/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/mountinfo.h"

#define COMMFD "_FUSE_COMMFD"

/* ---- fusermount3 ---- */

/* The environment with COMMFD in it; the caller frees the array, not the strings. */
static char **make_environment(char *commfd)
{
	size_t count = 0, kept = 0;
	char **copy;

	while (environ[count])
		count++;
	copy = calloc(count + 2, sizeof(*copy));
	if (!copy)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		if (strncmp(environ[i], COMMFD "=", sizeof(COMMFD)) != 0)
			copy[kept++] = environ[i];
	}
	copy[kept] = commfd;
	return copy;
}

/* Starts fusermount3 with `socket` (-1: none) as its way to answer. */
static int spawn_helper(char **argv, int socket, pid_t *ret_child)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	char commfd[sizeof(COMMFD) + 16];
	char **environment;
	sigset_t none;
	int error;

	snprintf(commfd, sizeof(commfd), COMMFD "=%d", socket);
	environment = make_environment(socket >= 0 ? commfd : NULL);
	if (!environment)
		return -ENOMEM;
	sigemptyset(&none);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawn_file_actions_init(&actions);
	if (socket >= 0) /* onto itself: it survives the exec */
		posix_spawn_file_actions_adddup2(&actions, socket, socket);
	error = posix_spawnp(ret_child, argv[0], &actions, &attributes, argv, environment);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	free(environment);
	return -error;
}

static int await_helper(pid_t child)
{
	int status;

	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

/* Reads the device that fusermount3 sends; -EPERM when it ended without. */
static int receive_device(int socket, int *ret_device)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	char byte;
	struct iovec vector = {&byte, 1};
	struct msghdr message = {.msg_iov = &vector,
				 .msg_iovlen = 1,
				 .msg_control = control.bytes,
				 .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *header;
	ssize_t got;

	do {
		got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
	if (!header || header->cmsg_type != SCM_RIGHTS)
		return -EPERM;
	memcpy(ret_device, CMSG_DATA(header), sizeof(*ret_device));
	return 0;
}

/* fsname= as fusermount3 reads it: a comma or backslash with a backslash before it. */
static void escape_source(const char *source, char *text)
{
	for (; *source; source++) {
		if (*source == ',' || *source == '\\')
			*text++ = '\\';
		*text++ = *source;
	}
	*text = '\0';
}

static void format_options(const struct attach_options *options, char *text, size_t size)
{
	char source[2 * PATH_MAX];

	escape_source(options->state, source);
	snprintf(text, size, "subtype=aionfs%s%s%s,fsname=%s",
		 options->allow_other ? ",allow_other" : "",
		 options->flags & MS_NOEXEC ? ",noexec" : "",
		 options->flags & MS_NOATIME ? ",noatime" : "", source);
}

static int attach_by_helper(const struct attach_options *options, int *ret_device,
			    struct reason *reason)
{
	char text[2 * PATH_MAX + 128], mountpoint[PATH_MAX];
	char *argv[] = {"fusermount3", "-o", text, "--", mountpoint, NULL};
	int sockets[2], error, status;
	pid_t child;

	format_options(options, text, sizeof(text));
	snprintf(mountpoint, sizeof(mountpoint), "%s", options->mountpoint);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0)
		return reason_set(reason, errno, "mount_failed", "no socket could be made: %s",
				  strerror(errno));
	error = spawn_helper(argv, sockets[0], &child);
	close(sockets[0]);
	if (error) {
		close(sockets[1]);
		return reason_set(reason, -error, "mount_failed",
				  "fusermount3, which users need to mount, could not be run: %s. "
				  "Install fuse3, or mount as root",
				  strerror(-error));
	}
	error = receive_device(sockets[1], ret_device);
	close(sockets[1]);
	status = await_helper(child);
	if (!error && status) {
		close(*ret_device);
		error = status;
	}
	if (error)
		return reason_set(reason, -error, "mount_failed",
				  "fusermount3 did not mount %s; its own message is above%s",
				  options->mountpoint,
				  options->allow_other ? " (allow_other needs the line "
							 "user_allow_other in /etc/fuse.conf)"
						       : "");
	return 0;
}

/* ---- mount(2) ---- */

static int explain_mount(const struct attach_options *options, int error, struct reason *reason)
{
	const char *remedy = "";

	if (error == EPERM)
		remedy =
		    ". Mounting needs the capability CAP_SYS_ADMIN, which a container has only "
		    "if it is started with it";
	else if (error == ENODEV)
		remedy = ". The kernel has no FUSE: modprobe fuse";
	return reason_set(reason, error, "mount_failed", "%s could not be mounted: %s%s",
			  options->mountpoint, strerror(error), remedy);
}

static int attach_by_mount(const struct attach_options *options, int *ret_device,
			   struct reason *reason)
{
	int device = open("/dev/fuse", O_RDWR | O_CLOEXEC), error;
	char text[160];

	if (device < 0)
		return reason_set(reason, errno, "no_fuse", "/dev/fuse could not be opened: %s. %s",
				  strerror(errno),
				  errno == ENOENT || errno == ENODEV || errno == ENXIO
				      ? "Load the kernel's FUSE (modprobe fuse); a container "
					"needs --device /dev/fuse"
				      : "A container needs --device /dev/fuse and the "
					"capability SYS_ADMIN");
	snprintf(text, sizeof(text), "fd=%d,rootmode=%o,user_id=%u,group_id=%u%s", device, S_IFDIR,
		 getuid(), getgid(), options->allow_other ? ",allow_other" : "");
	if (mount(options->state, options->mountpoint, MOUNTINFO_KIND, options->flags, text) != 0) {
		error = errno;
		close(device);
		return explain_mount(options, error, reason);
	}
	*ret_device = device;
	return 0;
}

int attach(const struct attach_options *options, int *ret_device, struct reason *reason)
{
	if (geteuid() == 0)
		return attach_by_mount(options, ret_device, reason);
	return attach_by_helper(options, ret_device, reason);
}

/* ---- unmounting ---- */

int attach_note(const char *mountpoint, struct attached *ret_attached)
{
	struct mountinfo info;
	int error = mountinfo_find(MOUNTINFO_TABLE, mountpoint, NULL, &info);

	if (!error)
		*ret_attached = (struct attached){info.major, info.minor};
	return error;
}

int attach_detach(const char *mountpoint, const struct attached *attached)
{
	char path[PATH_MAX];
	char *argv[] = {"fusermount3", "-u", "-z", "-q", "--", path, NULL};
	struct attached now;
	pid_t child;
	int error = attach_note(mountpoint, &now);

	if (error == -ENOENT)
		return 0;
	if (error)
		return error;
	if (now.major != attached->major || now.minor != attached->minor)
		return 0;
	if (geteuid() == 0)
		return umount2(mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) == 0 ? 0 : -errno;
	snprintf(path, sizeof(path), "%s", mountpoint);
	error = spawn_helper(argv, -1, &child);
	return error ? error : await_helper(child);
}
