/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the names and files of the drop boxes: what is shown, and what is written. When a file is
 * judged is commit.c's, what tells the boxes apart is behind box.h. Invariant: each open of a plain
 * name for writing has a spool of its own, so two writers of one name never mix; what is read back
 * is the last verdict.
 *
 * Refuses, before the first byte, whoever may not make the file; renaming or overwriting somebody
 * else's dot name; everything in a box but plain files.
 */
#include "fs/dropbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/attr.h"
#include "fs/commit.h"
#include "fs/rundir.h"
#include "fs/spool.h"

/*
 * What stat(2) recommends for writing, which cp, cat and others follow: one request of the size
 * that libfuse's buffers have costs much less than eight of the 128 KiB that cp would choose.
 */
#define WRITE_BYTES (1 << 20)

int dropbox_check_owner(const struct call *call, const struct spool *spool)
{
	uid_t uid = call->caller.uid;

	return uid == 0 || uid == spool->caller.uid ? 0 : -EACCES;
}

static void describe_spool(const struct spool *spool, uint64_t inode, struct stat *ret_attr)
{
	attr_file(spool->fs, ret_attr, inode, atomic_load(&spool->mode) & 0777,
		  atomic_load(&spool->size), atomic_load(&spool->changed_ns));
	ret_attr->st_uid = spool->caller.uid;
	ret_attr->st_gid = spool->caller.gid;
	ret_attr->st_blksize = WRITE_BYTES;
}

/* Consumes the reference. */
static int describe_found(struct fs *fs, struct spool *spool, uint64_t inode, struct stat *ret_attr)
{
	if (!spool)
		return -ENOENT;
	describe_spool(spool, inode, ret_attr);
	spool_close(fs, spool);
	return 0;
}

int dropbox_describe(struct call *call, const struct box_kind *kind, const char *text,
		     struct stat *ret_attr)
{
	uint64_t inode = inode_of_name(kind->place, text);
	struct fs *fs = call->fs;
	int r;

	if (box_is_dot(text))
		return describe_found(fs, spool_find_kept(fs, kind, text), inode, ret_attr);
	if (describe_found(fs, spool_find_open(fs, kind, text, &call->caller), inode, ret_attr) ==
	    0)
		return 0;
	r = kind->describe(call, kind, text, ret_attr);
	if (r != -ENOENT)
		return r;
	return describe_found(fs, spool_find_open(fs, kind, text, NULL), inode, ret_attr);
}

int dropbox_list(struct call *call, const struct node *directory, struct listing *listing)
{
	const struct box_kind *kind = box_of_directory(directory);
	char prefix[NODE_TEXT_MAX + 1];
	int r = kind->list(call, kind, box_prefix(directory, prefix), listing);

	if (r == 0)
		r = spool_list(call->fs, kind, prefix, listing);
	if (r == 0)
		listing_sort(listing);
	return r;
}

static bool is_for_writing(const struct call *call)
{
	return (call->file.flags & O_ACCMODE) != O_RDONLY || (call->file.flags & O_TRUNC);
}

/* Takes over the reference to the spool, also on failure. */
static int make_handle(struct call *call, struct spool *spool)
{
	struct handle *handle = handle_new(call->fs, HANDLE_SPOOL);
	int flags = call->file.flags;

	if (!handle) {
		spool_close(call->fs, spool);
		return -ENOMEM;
	}
	handle->spool = spool;
	handle->is_writer = (flags & O_ACCMODE) != O_RDONLY;
	handle->appends = flags & O_APPEND;
	handle->is_fresh = flags & (O_CREAT | O_TRUNC);
	call->file.fh = (uintptr_t)handle;
	call->file.direct_io = 1;
	call->file.noflush = !handle->is_writer;
	return 0;
}

static int reply_open(struct call *call)
{
	if (fuse_reply_open(call->request, &call->file) < 0)
		handle_put(call->fs, handle_of(&call->file));
	return 0;
}

/* A dot name is a file like any other until it is renamed: whoever opens it goes on with it. */
static int open_kept(struct call *call, const struct box_kind *kind, const char *text)
{
	struct spool *spool = spool_find_kept(call->fs, kind, text);
	int r;

	if (!spool)
		return -ENOENT;
	r = dropbox_check_owner(call, spool);
	if (r == 0 && (call->file.flags & O_TRUNC)) {
		r = spool_turn_begin(call, spool);
		if (r == 0)
			r = spool_truncate(spool, 0);
	}
	if (r != 0) {
		spool_close(call->fs, spool);
		return r;
	}
	r = make_handle(call, spool);
	return r < 0 ? r : reply_open(call);
}

/*
 * Somebody looks at a name that was closed with nothing in it, and will find out why nothing came
 * of it. Where an empty file counts, it is waited for instead.
 */
static int settle_empty(struct call *call, const struct box_kind *kind, const char *text)
{
	struct spool *spool;

	if (kind->takes_any_bytes) {
		int r = commit_await(call, kind, box_leaf(text));

		return r == -ENOENT ? 0 : r;
	}
	spool = spool_find_open(call->fs, kind, text, NULL);
	if (!spool)
		return 0;
	if (atomic_load(&spool->is_closed_empty) && atomic_load(&spool->size) == 0)
		kind->note_empty(call->fs, spool);
	spool_close(call->fs, spool);
	return 0;
}

static int open_shown(struct call *call, const struct box_kind *kind, const char *text)
{
	struct spool *spool;
	int r = settle_empty(call, kind, text);

	if (r != 0)
		return r;
	r = kind->open(call, kind, text);
	if (r == 0)
		return 0;
	spool = r == -ENOENT ? spool_find_open(call->fs, kind, text, NULL) : NULL;
	if (!spool)
		return r;
	/* Still being written for the first time: what is there is for the one who writes it. */
	r = dropbox_check_owner(call, spool);
	if (r < 0) {
		spool_close(call->fs, spool);
		return r;
	}
	r = make_handle(call, spool);
	return r < 0 ? r : reply_open(call);
}

/* A dot name that was asked for and then not made is given up again. */
static int make_spool(struct call *call, const struct box_kind *kind, const char *text,
		      struct spool **ret_spool)
{
	bool is_dot = box_is_dot(text);
	int r = kind->check(call, kind, text);

	if (r < 0)
		return r;
	r = spool_open(call, kind, text, ret_spool);
	if (r < 0 && is_dot && kind->abandoned)
		kind->abandoned(call->fs, text, call->attempt);
	return r;
}

static int new_spool(struct call *call, const struct box_kind *kind, const char *text)
{
	struct spool *spool = NULL;
	int r = make_spool(call, kind, text, &spool);

	return r < 0 ? r : make_handle(call, spool);
}

int dropbox_open(struct call *call)
{
	const struct box_kind *kind;
	struct node node;
	int r;

	node_resolve(call->fs->nodes, call->node, &node);
	kind = box_of_file(&node);
	if (!kind)
		return -ESTALE;
	/* A descriptor that was opened with O_PATH comes here without a look-up. */
	r = rundir_check(call, &node);
	if (r < 0)
		return r;
	if (box_is_dot(node.name))
		return open_kept(call, kind, node.name);
	if (!is_for_writing(call))
		return open_shown(call, kind, node.name);
	call->mode = 0644;
	r = new_spool(call, kind, node.name);
	return r < 0 ? r : reply_open(call);
}

static int reply_entry(struct call *call, const struct box_file *file, bool is_open)
{
	struct node node = {.kind = NODE_NAMED, .place = file->kind->place};
	struct fuse_entry_param entry = {0};
	int r = dropbox_describe(call, file->kind, file->text, &entry.attr);

	strcpy(node.name, file->text);
	entry.generation = rundir_generation(call->fs, &node);
	if (r == 0)
		entry.ino = node_get(call->fs->nodes, file->kind->place, file->text);
	if (r == 0 && !entry.ino)
		r = -ENOMEM;
	if (r < 0) {
		if (is_open)
			handle_put(call->fs, handle_of(&call->file));
		return r;
	}
	if (!is_open) {
		call_reply_entry(call, &entry);
	} else if (fuse_reply_create(call->request, &entry, &call->file) < 0) {
		node_forget(call->fs->nodes, entry.ino, 1);
		handle_put(call->fs, handle_of(&call->file));
	}
	return 0;
}

/* For CREATE and MKNOD: the file, when the name may be made there. */
static int find_new_file(struct call *call, struct box_file *ret_file)
{
	struct spool *taken;
	struct node parent;
	int r;

	node_resolve(call->fs->nodes, call->node, &parent);
	r = box_file_in(&parent, call->name, ret_file);
	if (r < 0 || !box_is_dot(ret_file->text))
		return r;
	taken = spool_find_kept(call->fs, ret_file->kind, ret_file->text);
	if (taken)
		spool_close(call->fs, taken);
	return taken ? -EEXIST : 0;
}

int dropbox_create(struct call *call)
{
	struct box_file file;
	int r = find_new_file(call, &file);

	call->file.flags |= O_CREAT;
	if (r == 0)
		r = new_spool(call, file.kind, file.text);
	return r < 0 ? r : reply_entry(call, &file, true);
}

/*
 * A file that is made without being opened: a dot name is there from now on, a plain one is empty,
 * and so closed already.
 */
int dropbox_mknod(struct call *call)
{
	struct spool *spool = NULL;
	struct box_file file;
	int r;

	if (!S_ISREG(call->mode) && (call->mode & S_IFMT) != 0)
		return -EPERM;
	r = find_new_file(call, &file);
	if (r < 0)
		return r;
	call->group = file.kind->group;
	if (file.kind->takes_any_bytes && !call->may_block)
		return -EAGAIN;
	r = make_spool(call, file.kind, file.text, &spool);
	if (r < 0)
		return r;
	if (!box_is_dot(file.text) && file.kind->takes_any_bytes)
		r = commit_now(call, spool);
	else if (!box_is_dot(file.text))
		file.kind->note_empty(call->fs, spool);
	if (r == 0)
		r = reply_entry(call, &file, false);
	spool_close(call->fs, spool);
	return r;
}

int dropbox_read(struct call *call)
{
	const struct handle *handle = handle_of(&call->file);
	char *buffer = malloc(call->size ? call->size : 1);
	ssize_t n;

	if (!buffer)
		return -ENOMEM;
	do
		n = pread(handle->spool->fd, buffer, call->size, call->offset);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		fuse_reply_buf(call->request, buffer, (size_t)n);
	free(buffer);
	return n < 0 ? -EIO : 0;
}

int dropbox_write(struct call *call)
{
	struct handle *handle = handle_of(&call->file);
	struct spool *spool = handle->spool;
	uint64_t offset = (uint64_t)call->offset;
	int r;

	if (!handle->is_writer)
		return -EBADF;
	r = spool_turn_begin(call, spool);
	if (r != 0)
		return r;
	if (atomic_load(&spool->is_committed))
		return -EBUSY;
	/* The kernel appends where it thinks the end is, which may be that of a receipt. */
	if (handle->appends)
		offset = atomic_load(&spool->size);
	r = spool_write(spool, call->data, call->size, offset);
	if (r < 0)
		return r;
	fuse_reply_write(call->request, call->size);
	return 0;
}

int dropbox_getattr(struct call *call)
{
	const struct handle *handle = handle_of(&call->file);
	struct fuse_entry_param entry = {0};
	struct node node;

	node_resolve(call->fs->nodes, call->node, &node);
	describe_spool(handle->spool,
		       node.kind == NODE_NAMED ? inode_of_name(node.place, node.name) : 0,
		       &entry.attr);
	fuse_reply_attr(call->request, &entry.attr, TIMEOUT_NEVER);
	return 0;
}

/*
 * Whom a change of attributes is about: the open file, the dot name, or a name that is being
 * written.
 */
static struct spool *find_target(struct call *call, const struct box_kind *kind, const char *text)
{
	struct fs *fs = call->fs;

	if (call->has_file && handle_of(&call->file)->spool)
		return spool_get(fs, handle_of(&call->file)->spool);
	if (box_is_dot(text))
		return spool_find_kept(fs, kind, text);
	return spool_find_open(fs, kind, text, &call->caller);
}

static int64_t time_to_ns(struct timespec time)
{
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static int change_spool(struct call *call, struct spool *spool)
{
	int r = dropbox_check_owner(call, spool);

	if (r == 0 && (call->flags & FUSE_SET_ATTR_SIZE)) {
		r = spool_turn_begin(call, spool);
		if (r == 0 && atomic_load(&spool->is_committed))
			r = -EBUSY;
		if (r == 0)
			r = spool_truncate(spool, (uint64_t)call->attr.st_size);
	}
	if (r != 0)
		return r;
	if (call->flags & FUSE_SET_ATTR_MODE)
		atomic_store(&spool->mode, call->attr.st_mode & 0777);
	if ((call->flags & FUSE_SET_ATTR_MTIME) && !(call->flags & FUSE_SET_ATTR_MTIME_NOW))
		atomic_store(&spool->changed_ns, time_to_ns(call->attr.st_mtim));
	return 0;
}

/*
 * Receipts and values have the mode and times that they have; tools that set others after a copy
 * must not fail.
 */
static int check_touch(struct call *call, const struct box_kind *kind, const char *text)
{
	struct stat attr;

	if (call->caller.uid == 0 ||
	    (kind->describe(call, kind, text, &attr) == 0 && attr.st_uid == call->caller.uid))
		return 0;
	return kind->check_touch && kind->check_touch(call, kind, text) == 0 ? 0 : -EPERM;
}

int dropbox_setattr(struct call *call)
{
	const struct box_kind *kind;
	struct spool *spool;
	struct stat attr;
	struct node node;
	int r;

	node_resolve(call->fs->nodes, call->node, &node);
	kind = box_of_file(&node);
	if (!kind)
		return -EPERM;
	spool = find_target(call, kind, node.name);
	if (spool) {
		r = change_spool(call, spool);
		if (r == 0)
			describe_spool(spool, inode_of_name(node.place, node.name), &attr);
		spool_close(call->fs, spool);
	} else {
		r = dropbox_describe(call, kind, node.name, &attr);
		if (r == 0)
			r = check_touch(call, kind, node.name);
	}
	if (r == 0)
		fuse_reply_attr(call->request, &attr, TIMEOUT_NEVER);
	return r;
}

static int unlink_kept(struct call *call, const struct box_file *file)
{
	struct spool *spool;
	int r;

	if (file->kind->abandoned && !call->may_block) {
		call->group = file->kind->group;
		return -EAGAIN;
	}
	spool = spool_find_kept(call->fs, file->kind, file->text);
	if (!spool)
		return -ENOENT;
	r = dropbox_check_owner(call, spool);
	if (r == 0) {
		spool_unlink(call->fs, spool);
		if (file->kind->abandoned)
			file->kind->abandoned(call->fs, file->text, spool->attempt);
		fuse_reply_err(call->request, 0);
	}
	spool_close(call->fs, spool);
	return r;
}

int dropbox_unlink(struct call *call)
{
	struct box_file file;
	struct node parent;
	struct spool *open;
	int r;

	node_resolve(call->fs->nodes, call->node, &parent);
	r = box_file_in(&parent, call->name, &file);
	if (r < 0)
		return r;
	if (box_is_dot(file.text))
		return unlink_kept(call, &file);
	if (!call->may_block)
		return -EAGAIN;
	r = settle_empty(call, file.kind, file.text);
	if (r != 0)
		return r;
	r = file.kind->remove(call, file.kind, file.text);
	if (r == 0) {
		fuse_reply_err(call->request, 0);
		return 0;
	}
	/* A file that is being written commits at its close, whatever is removed meanwhile. */
	open = r == -ENOENT ? spool_find_open(call->fs, file.kind, file.text, NULL) : NULL;
	if (open) {
		spool_close(call->fs, open);
		return -EBUSY;
	}
	return r;
}
