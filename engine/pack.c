/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory as a canonical archive. The first reading feeds admission, which judges the package
 * as a deploy would and gives the index; the second, in the order of the index, writes the contents
 * and hashes them again, so that no archive comes out whose bytes differ from its index.
 *
 * Every path is opened from the directory's own descriptor, component by component and without
 * following links, so a tree that changes under our hands cannot lead us out of it. No more than a
 * handful of descriptors are open however deep it is. Memory: the paths, and one buffer.
 * Refused: devices, fifos, sockets, and whatever admission refuses.
 */
#include "engine/pack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/admit.h"
#include "engine/tarball.h"

#define BUFFER_BYTES (256u * 1024)
#define ENTRIES_MAX  (UINT64_C(1) << 24) /* bounds our memory; a mount has its own, lower limit */

/* Directories still to be read: NUL-terminated paths, one behind the other, taken from the end. */
struct pending {
	char *bytes;
	size_t length, room;
};

struct packer {
	int root;
	struct admit *admit;
	struct admitted admitted;
	struct digest_stream stream;
	struct pending pending;
	char *buffer;
	/* Admission takes a single top-level directory off; this is how to get back to the disk. */
	bool has_root_manifest;
	char top[INDEX_NAME_MAX + 1];
	struct reason *reason;
};

static int fail(const struct packer *packer, int error, const char *code, const char *path,
		const char *what)
{
	reason_set(packer->reason, error, code, "%s", what);
	if (*path)
		reason_name_entry(packer->reason, path, strlen(path));
	return -error;
}

static int unreadable(const struct packer *packer, int error, const char *path)
{
	return fail(packer, error, "entry_unreadable", path, strerror(error));
}

static int changed(const struct packer *packer, const char *path)
{
	return fail(packer, EBUSY, "entry_changed", path,
		    "it changed while it was being packed; pack again when nothing writes to it");
}

/* ---- directories still to be read ---- */

static int pending_push(struct pending *pending, const char *path)
{
	size_t more = strlen(path) + 1;

	if (pending->length + more > pending->room) {
		size_t room = 2 * pending->room + more + 4096;
		char *larger = realloc(pending->bytes, room);

		if (!larger)
			return -ENOMEM;
		pending->bytes = larger;
		pending->room = room;
	}
	memcpy(pending->bytes + pending->length, path, more);
	pending->length += more;
	return 0;
}

/* Takes the last one; false when there is none. */
static bool pending_pop(struct pending *pending, char path[INDEX_PATH_MAX + 1])
{
	size_t begin = pending->length;

	if (begin == 0)
		return false;
	for (begin--; begin > 0 && pending->bytes[begin - 1] != '\0'; begin--)
		;
	memcpy(path, pending->bytes + begin, pending->length - begin);
	pending->length = begin;
	return true;
}

/* ---- opening ---- */

/* Opens a path below the root; no component of it may be a link. Returns a descriptor or -errno. */
static int open_below(int root, const char *path, int flags)
{
	int at = root, next, error;
	char name[INDEX_NAME_MAX + 1];

	for (const char *slash; (slash = strchr(path, '/')); path = slash + 1) {
		size_t length = (size_t)(slash - path);

		next = -1;
		errno = ENAMETOOLONG;
		if (length < sizeof(name)) {
			memcpy(name, path, length);
			name[length] = '\0';
			next = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		}
		error = errno;
		if (at != root)
			close(at);
		if (next < 0)
			return -error;
		at = next;
	}
	next = openat(at, *path ? path : ".", flags | O_NOFOLLOW | O_CLOEXEC);
	error = errno;
	if (at != root)
		close(at);
	return next < 0 ? -error : next;
}

/* ---- first reading ---- */

/*
 * Reads a file to its end, through `sink` and into the hash; more than `limit` bytes are an error.
 * Returns what `sink` returns, errors of read(2), -EBUSY entry_changed.
 */
static int read_file(struct packer *packer, int fd, const char *path, uint64_t limit,
		     pack_write *sink, void *context, struct digest *ret_digest, uint64_t *ret_size)
{
	uint64_t size = 0;
	ssize_t count;
	int error = 0;

	while (!error && (count = read(fd, packer->buffer, BUFFER_BYTES)) != 0) {
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			error = unreadable(packer, errno, path);
		else if ((uint64_t)count > limit - size)
			error = changed(packer, path);
		if (!error)
			error = digest_add(&packer->stream, packer->buffer, (size_t)count);
		if (!error)
			error = sink(context, packer->buffer, (size_t)count);
		size += (uint64_t)count;
	}
	*ret_size = size;
	return error ? error : digest_finish(&packer->stream, ret_digest);
}

static int keep_data(void *context, const void *bytes, size_t length)
{
	struct packer *packer = context;

	return admit_data(packer->admit, bytes, length, packer->reason);
}

/* Opens a file for reading, and only a file: another program may have replaced it by a fifo. */
static int open_file(int directory, const char *path, int *ret_fd)
{
	int fd = open_below(directory, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	struct stat status;

	if (fd < 0)
		return fd;
	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
		close(fd);
		return -ENOENT;
	}
	*ret_fd = fd;
	return 0;
}

static int add_file(struct packer *packer, int directory, const char *name, const char *path,
		    bool executable)
{
	struct digest digest;
	uint64_t size;
	int fd, error = admit_entry(packer->admit, ADMIT_FILE, path, strlen(path), NULL, 0,
				    executable, packer->reason);

	if (error)
		return error;
	error = open_file(directory, name, &fd);
	if (error)
		return unreadable(packer, -error, path);
	error = read_file(packer, fd, path, UINT64_MAX, keep_data, packer, &digest, &size);
	close(fd);
	return error ? error : admit_body(packer->admit, &digest, size, packer->reason);
}

static int add_link(struct packer *packer, int directory, const char *name, const char *path)
{
	char target[INDEX_PATH_MAX + 1];
	ssize_t length = readlinkat(directory, name, target, sizeof(target));

	if (length < 0)
		return unreadable(packer, errno, path);
	return admit_entry(packer->admit, ADMIT_SYMLINK, path, strlen(path), target, (size_t)length,
			   false, packer->reason);
}

static int add_directory(struct packer *packer, const char *path)
{
	int error = admit_entry(packer->admit, ADMIT_DIR, path, strlen(path), NULL, 0, false,
				packer->reason);

	return error ? error : pending_push(&packer->pending, path);
}

static void note_top(struct packer *packer, const char *path)
{
	if (strcmp(path, "manifest.json") == 0)
		packer->has_root_manifest = true;
	if (!strchr(path, '/'))
		snprintf(packer->top, sizeof(packer->top), "%.255s", path);
}

static int add_entry(struct packer *packer, int directory, const char *name, const char *path)
{
	struct stat status;

	if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
		return unreadable(packer, errno, path);
	note_top(packer, path);
	switch (status.st_mode & S_IFMT) {
	case S_IFDIR:
		return add_directory(packer, path);
	case S_IFREG:
		return add_file(packer, directory, name, path, (status.st_mode & 0111) != 0);
	case S_IFLNK:
		return add_link(packer, directory, name, path);
	default:
		return fail(packer, EINVAL, "entry_unsupported", path,
			    "a device, fifo or socket cannot be part of a package");
	}
}

static int read_names(struct packer *packer, DIR *directory, const char *path)
{
	char child[INDEX_PATH_MAX + 1 + INDEX_NAME_MAX + 1];
	struct dirent *entry;
	int error;

	while (errno = 0, (entry = readdir(directory))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		snprintf(child, sizeof(child), "%s%s%s", path, *path ? "/" : "", entry->d_name);
		error = add_entry(packer, dirfd(directory), entry->d_name, child);
		if (error)
			return error;
	}
	return errno ? unreadable(packer, errno, path) : 0;
}

static int read_directories(struct packer *packer)
{
	char path[INDEX_PATH_MAX + 1];
	int error = pending_push(&packer->pending, "");

	while (!error && pending_pop(&packer->pending, path)) {
		int fd = open_below(packer->root, path, O_RDONLY | O_DIRECTORY);
		DIR *directory = fd < 0 ? NULL : fdopendir(fd);

		if (!directory) {
			error = unreadable(packer, fd < 0 ? -fd : errno, path);
			if (fd >= 0)
				close(fd);
			return error;
		}
		error = read_names(packer, directory, path);
		closedir(directory);
	}
	return error;
}

/* ---- second reading ---- */

static int write_file(struct packer *packer, const struct tree *tree,
		      const struct tarball_segment *segment, pack_write *write, void *context)
{
	char path[2 * (INDEX_PATH_MAX + 1)];
	size_t length = 0;
	struct digest digest;
	uint64_t size;
	int fd, error;

	if (!packer->has_root_manifest)
		length = (size_t)snprintf(path, sizeof(path), "%s/", packer->top);
	tree_path(tree, segment->node, path + length, sizeof(path) - length);
	error = open_file(packer->root, path, &fd);
	if (error == -ENOENT || error == -ENOTDIR || error == -ELOOP)
		return changed(packer, path);
	if (error)
		return unreadable(packer, -error, path);
	error = read_file(packer, fd, path, segment->size, write, context, &digest, &size);
	close(fd);
	if (!error && (size != segment->size || !digest_equal(&digest, &segment->digest)))
		error = changed(packer, path);
	return error;
}

static int write_members(struct packer *packer, const struct tree *tree,
			 const struct tarball *tarball, pack_write *write, void *context)
{
	uint64_t at = 0, size = tarball_size(tarball);
	char literal[TARBALL_HEADER_MAX];
	struct tarball_segment segment;
	int error = 0;

	for (; !error && at < size; at += segment.length) {
		error = tarball_segment(tarball, at, literal, &segment);
		if (error)
			return error;
		if (segment.source == TARBALL_LITERAL)
			error = write(context, literal, segment.length);
		else if (segment.node == UINT32_MAX)
			error = write(context, packer->admitted.signature, segment.length);
		else
			error = write_file(packer, tree, &segment, write, context);
	}
	return error;
}

/*
 * Empty files have no bytes to write, but may have got some: above all the archive itself, when it is
 * written into the directory that is packed.
 */
static int check_empty_files(struct packer *packer, const struct tree *tree, pack_write *write,
			     void *context)
{
	int error = 0;

	for (uint32_t i = 0; !error && i < tree_count(tree); i++) {
		const struct tree_node *node = tree_node(tree, i);
		struct tarball_segment nothing = {.node = i, .digest = node->digest};

		if (node->kind == INDEX_FILE && node->size == 0)
			error = write_file(packer, tree, &nothing, write, context);
	}
	return error;
}

static int write_archive(struct packer *packer, pack_write *write, void *context)
{
	struct admitted *admitted = &packer->admitted;
	struct tarball *tarball = NULL;
	struct digest signature;
	struct tree *tree;
	char *text = admitted->index_text;
	int error;

	admitted->index_text = NULL; /* the tree's from here on */
	error = tree_new(text, admitted->index_length, &tree, packer->reason);
	if (error)
		return error;
	if (admitted->signature)
		error = digest_of(admitted->signature, admitted->signature_length, &signature);
	if (!error)
		error = tarball_new(tree, admitted->signature ? &signature : NULL,
				    admitted->signature_length, &tarball);
	if (!error)
		error = write_members(packer, tree, tarball, write, context);
	if (!error)
		error = check_empty_files(packer, tree, write, context);
	tarball_free(tarball);
	tree_free(tree);
	return error;
}

/* ---- the whole ---- */

static int open_packer(struct packer *packer, const char *path)
{
	packer->root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (packer->root < 0)
		return unreadable(packer, errno, "");
	packer->admit = admit_new(ENTRIES_MAX);
	packer->buffer = malloc(BUFFER_BYTES);
	if (!packer->admit || !packer->buffer)
		return -ENOMEM;
	return digest_open(&packer->stream);
}

static void close_packer(struct packer *packer)
{
	if (packer->root >= 0)
		close(packer->root);
	admit_free(packer->admit);
	admitted_free(&packer->admitted);
	digest_close(&packer->stream);
	free(packer->pending.bytes);
	free(packer->buffer);
}

int pack_directory(const char *path, pack_write *write, void *context,
		   struct manifest *ret_manifest, struct digest *ret_version, struct reason *reason)
{
	struct packer packer = {.root = -1, .reason = reason};
	int error = open_packer(&packer, path);

	if (!error)
		error = read_directories(&packer);
	if (!error)
		error = admit_finish(packer.admit, &packer.admitted, reason);
	if (!error && write)
		error = write_archive(&packer, write, context);
	if (!error) {
		*ret_manifest = packer.admitted.manifest;
		*ret_version = packer.admitted.version;
	}
	close_packer(&packer);
	return error;
}
