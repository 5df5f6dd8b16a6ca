/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the names and files of deploy/ and stage/: what is shown, and what is written. When a file
 * is judged is commit.c's. Invariant: each open of a plain name for writing has a spool of its own,
 * so two writers of one name never mix; the receipt shows the last verdict.
 *
 * Refuses, before the first byte, whoever may not deploy; renaming or overwriting somebody else's
 * dot name; everything in a box but plain files.
 */
#include "fs/dropbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/permit.h"
#include "engine/receipt.h"
#include "fs/attr.h"
#include "fs/commit.h"
#include "fs/files.h"
#include "fs/spool.h"

/*
 * What stat(2) recommends for writing, which cp, cat and others follow: one request of the size
 * that libfuse's buffers have costs much less than eight of the 128 KiB that cp would choose.
 */
#define WRITE_BYTES (1 << 20)

bool dropbox_of(const struct node *node, enum box *ret_box)
{
	bool is_deploy = (node->kind == NODE_FIXED && node->fixed == FIXED_DEPLOY) ||
			 (node->kind == NODE_NAMED && node->place == PLACE_DEPLOY);
	bool is_stage = (node->kind == NODE_FIXED && node->fixed == FIXED_STAGE) ||
			(node->kind == NODE_NAMED && node->place == PLACE_STAGE);

	*ret_box = is_stage ? BOX_STAGE : BOX_DEPLOY;
	return is_deploy || is_stage;
}

static enum place place_of(enum box box)
{
	return box == BOX_DEPLOY ? PLACE_DEPLOY : PLACE_STAGE;
}

int dropbox_check_owner(const struct call *call, const struct spool *spool)
{
	uid_t uid = call->caller.uid;

	return uid == 0 || uid == spool->caller.uid ? 0 : -EACCES;
}

static int check_permission(struct call *call, enum box box, const char *name)
{
	struct reason reason = {0};

	return permit_deploy(call->fs->engine, &call->caller, box_name(box), name, &reason);
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

int dropbox_describe(struct call *call, enum box box, const char *name, struct stat *ret_attr)
{
	uint64_t inode = inode_of_name(place_of(box), name);
	struct receipt receipt = {0};
	struct fs *fs = call->fs;

	if (name[0] == '.')
		return describe_found(fs, spool_find_kept(fs, box, name), inode, ret_attr);
	if (describe_found(fs, spool_find_open(fs, box, name, &call->caller), inode, ret_attr) == 0)
		return 0;
	if (receipt_stat(fs->engine, box, name, &receipt) < 0)
		return describe_found(fs, spool_find_open(fs, box, name, NULL), inode, ret_attr);
	attr_file(fs, ret_attr, inode, 0644, receipt.length, receipt.at_ns);
	ret_attr->st_uid = receipt.uid;
	return 0;
}

int dropbox_list(struct fs *fs, enum box box, struct listing *listing)
{
	char **names = NULL;
	size_t count = 0;
	int r = receipt_list(fs->engine, box, &names, &count);

	for (size_t i = 0; i < count && r == 0; i++)
		r = listing_add(listing, names[i]);
	free(names);
	if (r == 0)
		r = spool_list(fs, box, listing);
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
static int open_kept(struct call *call, enum box box, const char *name)
{
	struct spool *spool = spool_find_kept(call->fs, box, name);
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
 * Somebody looks at a name that was closed with nothing in it, and will find out why it deployed
 * nothing.
 */
static void settle_empty(struct call *call, enum box box, const char *name)
{
	struct spool *spool = spool_find_open(call->fs, box, name, NULL);

	if (!spool)
		return;
	if (atomic_load(&spool->is_closed_empty) && atomic_load(&spool->size) == 0)
		commit_note_empty(call->fs, spool);
	spool_close(call->fs, spool);
}

static int open_receipt(struct call *call, enum box box, const char *name)
{
	struct receipt receipt = {0};
	struct spool *spool;
	int r;

	settle_empty(call, box, name);
	r = receipt_get(call->fs->engine, box, name, &receipt);
	if (r == 0)
		return files_open_text(call, receipt.text, receipt.length);
	spool = r == -ENOENT ? spool_find_open(call->fs, box, name, NULL) : NULL;
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

static int new_spool(struct call *call, enum box box, const char *name)
{
	struct spool *spool = NULL;
	int r = check_permission(call, box, name);

	if (r == 0)
		r = spool_open(call->fs, box, name, name[0] == '.', &call->caller, call->mode,
			       &spool);
	return r < 0 ? r : make_handle(call, spool);
}

int dropbox_open(struct call *call)
{
	struct node node;
	enum box box;
	int r;

	node_resolve(call->fs->nodes, call->node, &node);
	if (!dropbox_of(&node, &box))
		return -ESTALE;
	if (node.name[0] == '.')
		return open_kept(call, box, node.name);
	if (!is_for_writing(call))
		return open_receipt(call, box, node.name);
	call->mode = 0644;
	r = new_spool(call, box, node.name);
	return r < 0 ? r : reply_open(call);
}

static int reply_entry(struct call *call, enum box box, bool is_open)
{
	struct fuse_entry_param entry = {0};
	int r = dropbox_describe(call, box, call->name, &entry.attr);

	if (r == 0)
		entry.ino = node_get(call->fs->nodes, place_of(box), call->name);
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

/* For CREATE and MKNOD: the box, when the name may be made there. */
static int check_new_name(struct call *call, enum box *ret_box)
{
	struct spool *taken;
	struct node parent;

	node_resolve(call->fs->nodes, call->node, &parent);
	if (!dropbox_of(&parent, ret_box))
		return -EPERM;
	if (strlen(call->name) > NODE_NAME_MAX)
		return -ENAMETOOLONG;
	if (call->name[0] != '.')
		return 0;
	taken = spool_find_kept(call->fs, *ret_box, call->name);
	if (taken)
		spool_close(call->fs, taken);
	return taken ? -EEXIST : 0;
}

int dropbox_create(struct call *call)
{
	enum box box;
	int r = check_new_name(call, &box);

	call->file.flags |= O_CREAT;
	if (r == 0)
		r = new_spool(call, box, call->name);
	return r < 0 ? r : reply_entry(call, box, true);
}

/*
 * A file that is made without being opened: a dot name is there from now on, a plain one is empty.
 */
int dropbox_mknod(struct call *call)
{
	struct spool *spool = NULL;
	enum box box;
	int r;

	if (!S_ISREG(call->mode) && (call->mode & S_IFMT) != 0)
		return -EPERM;
	r = check_new_name(call, &box);
	if (r == 0)
		r = check_permission(call, box, call->name);
	if (r == 0)
		r = spool_open(call->fs, box, call->name, call->name[0] == '.', &call->caller,
			       call->mode, &spool);
	if (r < 0)
		return r;
	if (call->name[0] != '.')
		commit_note_empty(call->fs, spool);
	r = reply_entry(call, box, false);
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

void dropbox_release(struct fs *fs, struct handle *handle)
{
	struct spool *spool = handle->spool;

	if (handle->is_writer && handle->is_fresh && !spool->is_dot &&
	    atomic_load(&spool->size) == 0)
		commit_note_empty(fs, spool);
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
static struct spool *find_target(struct call *call, enum box box, const char *name)
{
	struct fs *fs = call->fs;

	if (call->has_file && handle_of(&call->file)->spool)
		return spool_get(fs, handle_of(&call->file)->spool);
	if (name[0] == '.')
		return spool_find_kept(fs, box, name);
	return spool_find_open(fs, box, name, &call->caller);
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
 * Receipts have the mode and times that they have; tools that set others after a copy must not
 * fail.
 */
static int check_receipt_change(struct call *call, enum box box, const char *name)
{
	struct receipt receipt = {0};

	if (receipt_stat(call->fs->engine, box, name, &receipt) == 0 &&
	    receipt.uid == call->caller.uid)
		return 0;
	return check_permission(call, box, name) < 0 ? -EPERM : 0;
}

int dropbox_setattr(struct call *call)
{
	struct stat attr;
	struct spool *spool;
	struct node node;
	enum box box;
	int r;

	node_resolve(call->fs->nodes, call->node, &node);
	if (node.kind != NODE_NAMED || !dropbox_of(&node, &box))
		return -EPERM;
	spool = find_target(call, box, node.name);
	if (spool) {
		r = change_spool(call, spool);
		if (r == 0)
			describe_spool(spool, inode_of_name(node.place, node.name), &attr);
		spool_close(call->fs, spool);
	} else {
		r = dropbox_describe(call, box, node.name, &attr);
		if (r == 0)
			r = check_receipt_change(call, box, node.name);
	}
	if (r == 0)
		fuse_reply_attr(call->request, &attr, TIMEOUT_NEVER);
	return r;
}

static int unlink_kept(struct call *call, enum box box)
{
	struct spool *spool = spool_find_kept(call->fs, box, call->name);
	int r;

	if (!spool)
		return -ENOENT;
	r = dropbox_check_owner(call, spool);
	if (r == 0) {
		spool_unlink(call->fs, spool);
		fuse_reply_err(call->request, 0);
	}
	spool_close(call->fs, spool);
	return r;
}

int dropbox_unlink(struct call *call)
{
	struct reason reason = {0};
	struct node parent;
	struct spool *open;
	enum box box;
	int r;

	node_resolve(call->fs->nodes, call->node, &parent);
	if (!dropbox_of(&parent, &box))
		return -EPERM;
	if (call->name[0] == '.')
		return unlink_kept(call, box);
	if (!call->may_block)
		return -EAGAIN;
	settle_empty(call, box, call->name);
	r = receipt_remove(call->fs->engine, box, call->name, &call->caller, &reason);
	if (r == 0) {
		fuse_reply_err(call->request, 0);
		return 0;
	}
	/* A file that is being written deploys at its close, whatever is removed meanwhile. */
	open = r == -ENOENT ? spool_find_open(call->fs, box, call->name, NULL) : NULL;
	if (open) {
		spool_close(call->fs, open);
		return -EBUSY;
	}
	return r;
}
