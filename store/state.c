/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state directory: what may be in it, who has it, and which format it is. Everything is made
 * with modes 0700 and 0600: what is in a package may be for its users only.
 */
#include "store/state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/store.h"

static int failed(struct reason *reason, const char *what, const char *path)
{
	int error = errno == ENOSPC || errno == EDQUOT ? ENOSPC : EIO;

	return reason_set(reason, error, error == ENOSPC ? "store_full" : "store_failed",
			  "cannot %s %s: %s", what, path, strerror(errno));
}

/* A new name is durable only when its directory is. */
static int sync_parent(const char *path)
{
	char *parent = NULL;
	int fd, result;

	if (asprintf(&parent, "%s/..", path) < 0)
		return -1;
	fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(parent);
	if (fd < 0)
		return -1;
	result = fsync(fd);
	close(fd);
	return result;
}

int state_open(const char *path, bool make, int *ret_directory, struct reason *reason)
{
	int fd;

	if (make && mkdir(path, 0700) == 0) {
		if (sync_parent(path) < 0)
			return failed(reason, "sync the parent of", path);
	} else if (make && errno != EEXIST) {
		return failed(reason, "make the state directory", path);
	}
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return reason_set(reason, ENOENT, "no_store", "there is no aionfs state in %s",
				  path);
	if (fd < 0)
		return failed(reason, "open the state directory", path);
	*ret_directory = fd;
	return 0;
}

/* Reads a small text file. Returns its length, or -1 with errno. */
static ssize_t read_text(int directory, const char *name, char *text, size_t room)
{
	int fd = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), error;
	ssize_t length;

	if (fd < 0)
		return -1;
	length = read(fd, text, room - 1);
	error = errno;
	close(fd);
	errno = error;
	text[length < 0 ? 0 : length] = '\0';
	return length;
}

static long read_pid(int directory)
{
	char text[32];

	return read_text(directory, "lock", text, sizeof(text)) > 0 ? strtol(text, NULL, 10) : 0;
}

static int in_use(int directory, const char *path, struct reason *reason)
{
	long pid = read_pid(directory);

	if (pid > 0)
		return reason_set(reason, EBUSY, "store_in_use",
				  "the state in %s is in use by the process with pid %ld; unmount "
				  "that mount first", path, pid);
	return reason_set(reason, EBUSY, "store_in_use",
			  "the state in %s is in use by another process; unmount its mount first",
			  path);
}

static int write_pid(int fd)
{
	char text[32];
	int length = snprintf(text, sizeof(text), "%ld\n", (long)getpid());

	if (ftruncate(fd, 0) < 0)
		return -1;
	return pwrite(fd, text, (size_t)length, 0) == length ? 0 : -1;
}

static bool holder_is_dead(int directory)
{
	long pid = read_pid(directory);

	return pid > 0 && kill((pid_t)pid, 0) < 0 && errno == ESRCH;
}

/*
 * A lock is shared with the children of who took it. The check's child lets go of it first thing,
 * but if its mount is killed even before that, nobody who matters holds the lock for a moment.
 */
static int take_lock(int directory, int fd)
{
	const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};

	for (int tries = 250;; tries--) {
		int error;

		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		error = errno;
		if (error != EWOULDBLOCK || !tries || !holder_is_dead(directory))
			return -error;
		nanosleep(&pause, NULL);
	}
}

int state_lock(int directory, const char *path, int *ret_lock, struct reason *reason)
{
	int fd = openat(directory, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int error;

	if (fd < 0)
		return failed(reason, "open the lock of", path);
	error = take_lock(directory, fd);
	if (error) {
		errno = -error;
		error = error == -EWOULDBLOCK ? in_use(directory, path, reason)
					      : failed(reason, "lock", path);
		close(fd);
		return error;
	}
	/* Who cannot write down a pid on a full disk still has the lock. */
	if (write_pid(fd) < 0 && errno != ENOSPC && errno != EDQUOT) {
		error = failed(reason, "write the lock of", path);
		close(fd);
		return error;
	}
	*ret_lock = fd;
	return 0;
}

bool state_is_locked(int directory)
{
	int fd = openat(directory, "lock", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	bool locked;

	if (fd < 0)
		return true;
	locked = flock(fd, LOCK_SH | LOCK_NB) < 0;
	close(fd);
	return locked;
}

/*
 * Is a name one that the making of a state leaves? lost+found comes with a filesystem of its own.
 */
static bool is_ours(const char *name)
{
	static const char *const names[] = {".",     "..",    "lock",       "rows",
					    "spool", "contents", "format.new", "lost+found"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return false;
}

static int refuse_foreign(int directory, const char *path, struct reason *reason)
{
	int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), error = 0;
	struct dirent *entry;
	DIR *stream = fd < 0 ? NULL : fdopendir(fd);

	if (!stream) {
		if (fd >= 0)
			close(fd);
		return failed(reason, "read the state directory", path);
	}
	while (!error && (entry = readdir(stream))) {
		if (!is_ours(entry->d_name))
			error = reason_set(reason, EIO, "store_failed",
					   "%s is not an aionfs state directory: it holds %.100s "
					   "and no file named format; name an empty or a new one",
					   path, entry->d_name);
	}
	closedir(stream);
	return error;
}

static int check_format(const char *path, const char *text, enum state_age *ret_age,
			struct reason *reason)
{
	char *end;
	long format = strtol(text, &end, 10);

	if (end == text || *end != '\n' || format < 1)
		return reason_set(reason, EPROTO, "store_format",
				  "the file format in %s holds no format number; restore it from a "
				  "backup", path);
	*ret_age = format == STORE_FORMAT ? STATE_COMPLETE : STATE_OLDER;
	if (format >= STORE_FORMAT_OLDEST && format <= STORE_FORMAT)
		return 0;
	return reason_set(reason, EPROTO, "store_format",
			  "the state in %s has format %ld, and this aionfs knows format %d; %s",
			  path, format, STORE_FORMAT,
			  format > STORE_FORMAT ? "use a newer aionfs"
						: "use the older aionfs that wrote it");
}

static int require(int directory, const char *path, const char *name, struct reason *reason)
{
	struct stat stat;

	if (fstatat(directory, name, &stat, 0) == 0 && S_ISREG(stat.st_mode) && stat.st_size > 0)
		return 0;
	return reason_set(reason, EBADMSG, "store_damaged",
			  "the state in %s misses %s; restore it from a backup, or move it away "
			  "and deploy the archives again",
			  path, name);
}

int state_inspect(int directory, const char *path, enum state_age *ret_age, struct reason *reason)
{
	char text[32];
	int error;

	if (read_text(directory, "format", text, sizeof(text)) < 0) {
		if (errno != ENOENT)
			return failed(reason, "read the format of", path);
		*ret_age = STATE_NEW;
		return refuse_foreign(directory, path, reason);
	}
	error = check_format(path, text, ret_age, reason);
	if (!error)
		error = require(directory, path, "rows/data.mdb", reason);
	return error ? error : require(directory, path, "contents/data.mdb", reason);
}

/* A spool that has a name belongs to a mount that died between making and unlinking it. */
static int empty_spools(int directory)
{
	int fd = openat(directory, "spool", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	struct dirent *entry;
	DIR *stream = fd < 0 ? NULL : fdopendir(fd);

	if (!stream) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	while ((entry = readdir(stream))) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			unlinkat(fd, entry->d_name, 0);
	}
	closedir(stream);
	return 0;
}

static int write_format(int directory)
{
	int fd = openat(directory, "format.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char text[32];
	int length = snprintf(text, sizeof(text), "%d\n", STORE_FORMAT);

	if (fd < 0)
		return -1;
	if (write(fd, text, (size_t)length) != length || fsync(fd) < 0) {
		close(fd);
		return -1;
	}
	close(fd);
	return renameat(directory, "format.new", directory, "format");
}

/* The files that LMDB has made are synced by it, their names are not. */
static int sync_directory(int directory, const char *name)
{
	int fd = openat(directory, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int result = fd < 0 ? -1 : fsync(fd);

	if (fd >= 0)
		close(fd);
	return result;
}

int state_complete(int directory, const char *path, enum state_age age, struct reason *reason)
{
	if (mkdirat(directory, "spool", 0700) < 0 && errno != EEXIST)
		return failed(reason, "make the spool directory in", path);
	if (empty_spools(directory) < 0)
		return failed(reason, "empty the spool directory in", path);
	if (age == STATE_COMPLETE)
		return 0;
	if (sync_directory(directory, "rows") < 0 || sync_directory(directory, "contents") < 0 ||
	    write_format(directory) < 0 || sync_directory(directory, ".") < 0)
		return failed(reason, "write the format of", path);
	return 0;
}

/* For filesystems without O_TMPFILE. */
static int spool_by_name(int spools)
{
	char name[32];

	for (unsigned int i = 0; i < 1000; i++) {
		int fd;

		snprintf(name, sizeof(name), "%ld.%u", (long)getpid(), i);
		fd = openat(spools, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0 && errno == EEXIST)
			continue;
		if (fd >= 0)
			unlinkat(spools, name, 0);
		return fd;
	}
	return -1;
}

static int spool_error(int error)
{
	switch (error) {
	case ENOSPC:
	case EDQUOT:
		return -ENOSPC;
	case EMFILE:
	case ENFILE:
		return -EMFILE;
	default:
		return -EIO;
	}
}

int state_spool(int directory, int *ret_fd)
{
	int fd, error;
	int spools = openat(directory, "spool", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (spools < 0)
		return spool_error(errno);
	fd = openat(spools, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
		fd = spool_by_name(spools);
	error = fd < 0 ? spool_error(errno) : 0;
	close(spools);
	if (!error)
		*ret_fd = fd;
	return error;
}
