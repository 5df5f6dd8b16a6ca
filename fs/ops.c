/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of operations: takes each request apart and starts the call that answers it. Nothing is
 * decided here but which part of the tree a request is about.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "engine/runs.h"
#include "fs/commit.h"
#include "fs/controls.h"
#include "fs/dropbox.h"
#include "fs/files.h"
#include "fs/handle.h"
#include "fs/listing.h"
#include "fs/lookup.h"
#include "fs/removal.h"
#include "fs/routes.h"
#include "fs/rundir.h"
#include "fs/runfile.h"
#include "fs/startbox.h"
#include "fs/xattr.h"

#define READ_AHEAD (1024u * 1024u)

static struct node resolve(fuse_req_t request, fuse_ino_t id)
{
	struct fs *fs = fuse_req_userdata(request);
	struct node node;

	node_resolve(fs->nodes, id, &node);
	return node;
}

static bool is_box(const struct node *node)
{
	return box_of_directory(node) || box_of_file(node);
}

static bool is_routes(const struct node *node)
{
	return (node->kind == NODE_FIXED && node->fixed == FIXED_ROUTES) ||
	       (node->kind == NODE_NAMED && node->place == PLACE_ROUTES);
}

/* What making or removing a name means where the tree has no use for it. */
static int refusal(const struct node *directory)
{
	return is_box(directory) || is_routes(directory) || startbox_owns(directory) ||
		       rundir_owns(directory)
		   ? EPERM
		   : EROFS;
}

static void op_init(void *userdata, struct fuse_conn_info *connection)
{
	(void)userdata;
	if (connection->max_readahead > READ_AHEAD)
		connection->max_readahead = READ_AHEAD;
	connection->want &= ~(unsigned)(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_CACHE_SYMLINKS |
					FUSE_CAP_READDIRPLUS_AUTO);
	connection->time_gran = 1;
}

static void op_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	struct call call;

	call_init(&call, request, lookup_run, parent, name);
	call_start(&call);
}

static void op_forget(fuse_req_t request, fuse_ino_t id, uint64_t count)
{
	struct fs *fs = fuse_req_userdata(request);

	node_forget(fs->nodes, id, count);
	fuse_reply_none(request);
}

static void op_forget_multi(fuse_req_t request, size_t count, struct fuse_forget_data *forgets)
{
	struct fs *fs = fuse_req_userdata(request);

	for (size_t i = 0; i < count; i++)
		node_forget(fs->nodes, forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(request);
}

static void op_getattr(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *file)
{
	bool is_spool = file && file->fh && handle_of(file)->kind == HANDLE_SPOOL;
	struct call call;

	call_init(&call, request, is_spool ? dropbox_getattr : lookup_attr, id, NULL);
	if (file)
		call.file = *file;
	call_start(&call);
}

static void op_setattr(fuse_req_t request, fuse_ino_t id, struct stat *attr, int to_set,
		       struct fuse_file_info *file)
{
	struct node node = resolve(request, id);
	int (*run)(struct call *) = NULL;
	struct call call;

	if (box_of_file(&node))
		run = dropbox_setattr;
	else if (is_routes(&node) && node.kind == NODE_NAMED)
		run = routes_setattr;
	else if (box_of_directory(&node) || is_routes(&node) || startbox_owns(&node))
		run = lookup_setattr;
	else if (rundir_owns(&node))
		run = rundir_setattr;
	if (!run) {
		fuse_reply_err(request, node.kind == NODE_INVALID ? ESTALE : EROFS);
		return;
	}
	call_init(&call, request, run, id, NULL);
	call.attr = *attr;
	call.flags = (unsigned)to_set;
	call.has_file = file && file->fh;
	if (file)
		call.file = *file;
	call_start(&call);
}

static void op_readlink(fuse_req_t request, fuse_ino_t id)
{
	struct call call;

	call_init(&call, request, lookup_readlink, id, NULL);
	call_start(&call);
}

static void op_mknod(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode,
		     dev_t device)
{
	struct node node = resolve(request, parent);
	struct call call;

	(void)device;
	if (!is_box(&node) && !is_routes(&node)) {
		fuse_reply_err(request, refusal(&node));
		return;
	}
	call_init(&call, request, is_box(&node) ? dropbox_mknod : routes_create, parent, name);
	call.mode = mode;
	call_start(&call);
}

static void op_mkdir(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct node node = resolve(request, parent);

	(void)name;
	(void)mode;
	fuse_reply_err(request, refusal(&node));
}

static void op_unlink(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	struct node node = resolve(request, parent);
	struct call call;

	if (!is_box(&node) && !is_routes(&node)) {
		fuse_reply_err(request, refusal(&node));
		return;
	}
	call_init(&call, request, is_box(&node) ? dropbox_unlink : routes_unlink, parent, name);
	call_start(&call);
}

static void op_rmdir(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	struct call call;

	call_init(&call, request, removal_rmdir, parent, name);
	call_start(&call);
}

static void op_symlink(fuse_req_t request, const char *target, fuse_ino_t parent, const char *name)
{
	struct node node = resolve(request, parent);
	struct call call;

	if (node.kind != NODE_ENTRY && !is_routes(&node)) {
		fuse_reply_err(request, refusal(&node));
		return;
	}
	call_init(&call, request, is_routes(&node) ? routes_symlink : routes_symlink_inside, parent,
		  name);
	call.text = target;
	call_start(&call);
}

static void op_rename(fuse_req_t request, fuse_ino_t parent, const char *name,
		      fuse_ino_t new_parent, const char *new_name, unsigned flags)
{
	struct node node = resolve(request, parent);
	struct node new_node = resolve(request, new_parent);
	struct call call;

	if (!is_box(&node) && !is_routes(&node)) {
		fuse_reply_err(request, refusal(&node));
		return;
	}
	if (parent != new_parent) {
		fuse_reply_err(request, refusal(&new_node) == EROFS ? EROFS : EXDEV);
		return;
	}
	call_init(&call, request, is_box(&node) ? commit_rename : routes_rename, parent, name);
	call.text = new_name;
	call.flags = flags;
	call_start(&call);
}

static void op_link(fuse_req_t request, fuse_ino_t id, fuse_ino_t new_parent, const char *new_name)
{
	struct node node = resolve(request, new_parent);

	(void)id;
	(void)new_name;
	fuse_reply_err(request, refusal(&node));
}

static void op_open(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *file)
{
	struct node node = resolve(request, id);
	int (*run)(struct call *) = files_open;
	struct call call;

	if (is_box(&node))
		run = dropbox_open;
	else if (is_routes(&node))
		run = routes_open;
	else if (rundir_owns(&node))
		run = runfile_open;
	call_init(&call, request, run, id, NULL);
	call.file = *file;
	call_start(&call);
}

static void op_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *file)
{
	struct node node = resolve(request, parent);
	int (*run)(struct call *) = NULL;
	struct call call;

	if (is_box(&node))
		run = dropbox_create;
	else if (is_routes(&node))
		run = routes_create;
	else if (node.kind == NODE_NAMED && node.place == PLACE_TIMERS)
		run = controls_create;
	if (!run) {
		fuse_reply_err(request, refusal(&node));
		return;
	}
	call_init(&call, request, run, parent, name);
	call.mode = S_IFREG | (mode & 07777);
	call.file = *file;
	call.has_file = true;
	call_start(&call);
}

static void op_read(fuse_req_t request, fuse_ino_t id, size_t size, off_t offset,
		    struct fuse_file_info *file)
{
	enum handle_kind kind = handle_of(file)->kind;
	int (*run)(struct call *) = files_read;
	struct call call;

	if (kind == HANDLE_SPOOL)
		run = dropbox_read;
	else if (kind == HANDLE_HISTORY || kind == HANDLE_RUN_LOG || kind == HANDLE_WAIT)
		run = runfile_read;
	call_init(&call, request, run, id, NULL);
	call.file = *file;
	call.size = size;
	call.offset = offset;
	call_start(&call);
}

static void op_write(fuse_req_t request, fuse_ino_t id, const char *data, size_t size, off_t offset,
		     struct fuse_file_info *file)
{
	enum handle_kind kind = handle_of(file)->kind;
	int (*run)(struct call *) = routes_write;
	struct call call;

	if (kind == HANDLE_SPOOL)
		run = dropbox_write;
	else if (kind == HANDLE_TIMER || kind == HANDLE_CTL)
		run = controls_write;
	call_init(&call, request, run, id, NULL);
	call.file = *file;
	call.data = data;
	call.size = size;
	call.offset = offset;
	call_start(&call);
}

static void op_flush(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *file)
{
	struct call call;

	call_init(&call, request, commit_flush, id, NULL);
	call.file = *file;
	call_start(&call);
}

static void op_fsync(fuse_req_t request, fuse_ino_t id, int data_only, struct fuse_file_info *file)
{
	struct call call;

	(void)data_only;
	call_init(&call, request, commit_fsync, id, NULL);
	call.file = *file;
	call_start(&call);
}

static void op_release(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *file)
{
	struct call call;

	call_init(&call, request, commit_release, id, NULL);
	call.file = *file;
	call_start(&call);
}

static void op_opendir(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *file)
{
	struct call call;

	call_init(&call, request, listing_open, id, NULL);
	call.file = *file;
	call_start(&call);
}

static void read_directory(fuse_req_t request, fuse_ino_t id, size_t size, off_t offset,
			   const struct fuse_file_info *file, int (*run)(struct call *))
{
	struct call call;

	call_init(&call, request, run, id, NULL);
	call.file = *file;
	call.size = size;
	call.offset = offset;
	call_start(&call);
}

static void op_readdir(fuse_req_t request, fuse_ino_t id, size_t size, off_t offset,
		       struct fuse_file_info *file)
{
	read_directory(request, id, size, offset, file, listing_read);
}

static void op_readdirplus(fuse_req_t request, fuse_ino_t id, size_t size, off_t offset,
			   struct fuse_file_info *file)
{
	read_directory(request, id, size, offset, file, listing_read_plus);
}

static void op_releasedir(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *file)
{
	(void)id;
	handle_put(fuse_req_userdata(request), handle_of(file));
	fuse_reply_err(request, 0);
}

/* What a directory was told is durable already when it was told. */
static void op_fsyncdir(fuse_req_t request, fuse_ino_t id, int data_only,
			struct fuse_file_info *file)
{
	(void)id;
	(void)data_only;
	(void)file;
	fuse_reply_err(request, 0);
}

static void op_statfs(fuse_req_t request, fuse_ino_t id)
{
	struct fs *fs = fuse_req_userdata(request);
	struct statvfs answer = {.f_bsize = 4096, .f_frsize = 4096, .f_namemax = NODE_NAME_MAX};
	uint64_t runs[RUN_STATUSES] = {0};
	struct catalog_counts counts = {0};
	struct store_space space = {0};
	int r = store_space(fs->engine->store, &space);

	(void)id;
	if (r < 0) {
		fuse_reply_err(request, -r);
		return;
	}
	catalog_count(fs->engine->catalog, &counts);
	answer.f_blocks = space.total_bytes / 4096;
	answer.f_bfree = space.free_bytes / 4096;
	answer.f_bavail = answer.f_bfree;
	answer.f_files = counts.versions;
	runs_count(fs->engine, runs);
	for (int status = 0; status < RUN_STATUSES; status++)
		answer.f_files += runs[status];
	/* There is no bound but the space: without free ones `df -i` would call it full. */
	answer.f_ffree = answer.f_favail = answer.f_bavail;
	answer.f_files += answer.f_ffree;
	fuse_reply_statfs(request, &answer);
}

static void op_setxattr(fuse_req_t request, fuse_ino_t id, const char *name, const char *value,
			size_t size, int flags)
{
	struct call call;

	(void)flags;
	call_init(&call, request, xattr_set, id, name);
	call.data = value;
	call.size = size;
	call_start(&call);
}

static void op_getxattr(fuse_req_t request, fuse_ino_t id, const char *name, size_t size)
{
	struct call call;

	call_init(&call, request, xattr_get, id, name);
	call.size = size;
	call_start(&call);
}

static void op_listxattr(fuse_req_t request, fuse_ino_t id, size_t size)
{
	struct call call;

	call_init(&call, request, xattr_list, id, NULL);
	call.size = size;
	call_start(&call);
}

static void op_access(fuse_req_t request, fuse_ino_t id, int mask)
{
	struct call call;

	call_init(&call, request, lookup_access, id, NULL);
	call.flags = (unsigned)mask;
	call_start(&call);
}

static void op_ioctl(fuse_req_t request, fuse_ino_t id, unsigned command, void *argument,
		     struct fuse_file_info *file, unsigned flags, const void *input,
		     size_t input_size, size_t output_size)
{
	(void)id;
	(void)command;
	(void)argument;
	(void)file;
	(void)flags;
	(void)input;
	(void)input_size;
	(void)output_size;
	fuse_reply_err(request, ENOTTY);
}

static const struct fuse_lowlevel_ops operations = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
	.open = op_open,
	.create = op_create,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.fsync = op_fsync,
	.release = op_release,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.releasedir = op_releasedir,
	.fsyncdir = op_fsyncdir,
	.statfs = op_statfs,
	.setxattr = op_setxattr,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.access = op_access,
	.ioctl = op_ioctl,
};

const struct fuse_lowlevel_ops *fs_operations(void)
{
	return &operations;
}
