/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns open and read of what is read-only. Invariant: a content is verified when it is opened,
 * before its first byte is served, and then goes from the store's map to the kernel without a copy
 * and without a lock that a deploy could hold. Writing is refused when the file is opened.
 */
#include "fs/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "engine/log.h"
#include "engine/verify.h"
#include "fs/archive.h"
#include "fs/package.h"
#include "fs/text.h"
#include "store/contents.h"

#define VECTORS_MAX 64

int files_reply_open(struct call *call, struct handle *handle)
{
	call->file.fh = (uintptr_t)handle;
	if (fuse_reply_open(call->request, &call->file) < 0)
		handle_put(call->fs, handle);
	return 0;
}

/* What never changes stays in the page cache, and its close asks nothing. */
static int open_for_good(struct call *call, enum handle_kind kind, struct version *version,
			 const struct digest *digest, uint64_t size)
{
	struct handle *handle = handle_new(call->fs, kind);

	if (!handle)
		return -ENOMEM;
	handle->version = version_get(version);
	handle->store = version->store;
	handle->digest = *digest;
	handle->size = size;
	call->file.keep_cache = 1;
	call->file.noflush = 1;
	return files_reply_open(call, handle);
}

static int open_content(struct call *call, const struct node *node)
{
	char path[INDEX_PATH_MAX + 1];
	struct reason reason = {0};
	struct package package;
	int r = package_open(call, node, false, &package);

	if (r < 0)
		return r;
	if (package.node->kind != INDEX_FILE)
		r = package.node->kind == INDEX_DIR ? -EISDIR : -ELOOP;
	if (r == 0) {
		tree_path(package.tree, package.number, path, sizeof(path));
		r = verify_file(call->fs->engine, package.version, &package.node->digest,
				package.node->size, path, !call->may_block, &reason);
	}
	if (r == 0)
		r = open_for_good(call, HANDLE_CONTENT, package.version, &package.node->digest,
				  package.node->size);
	package_close(call, &package);
	return r;
}

static int open_generated(struct call *call, const struct node *node)
{
	struct version *version = package_version(call, node->slot, false);
	struct reason reason = {0};
	uint64_t size = 0;
	int r;

	if (!version)
		return -ESTALE;
	if (node->kind == NODE_ARCHIVE) {
		r = archive_size(call, version, &size);
		if (r == 0)
			r = open_for_good(call, HANDLE_ARCHIVE, version, &version->digest, size);
	} else {
		size = version->index_bytes;
		r = verify_file(call->fs->engine, version, &version->digest, size, "the index",
				!call->may_block, &reason);
		if (r == 0)
			r = open_for_good(call, HANDLE_CONTENT, version, &version->digest, size);
	}
	version_put(version);
	return r;
}

int files_open_text(struct call *call, char *text, size_t length)
{
	struct handle *handle = handle_new(call->fs, HANDLE_TEXT);

	if (!handle) {
		free(text);
		return -ENOMEM;
	}
	handle->text = text;
	handle->size = length;
	call->file.direct_io = 1;
	call->file.noflush = 1;
	return files_reply_open(call, handle);
}

static int open_log(struct call *call)
{
	struct handle *handle = handle_new(call->fs, HANDLE_LOG);

	if (!handle)
		return -ENOMEM;
	call->file.direct_io = 1;
	call->file.noflush = 1;
	return files_reply_open(call, handle);
}

int files_open(struct call *call)
{
	size_t length = 0;
	char *text = NULL;
	struct node node;
	int64_t at_ns;
	int r;

	if ((call->file.flags & O_ACCMODE) != O_RDONLY || (call->file.flags & O_TRUNC))
		return -EROFS;
	node_resolve(call->fs->nodes, call->node, &node);
	if (node.kind == NODE_ENTRY)
		return open_content(call, &node);
	if (node.kind == NODE_ARCHIVE || node.kind == NODE_INDEX)
		return open_generated(call, &node);
	if (node.kind == NODE_INVALID)
		return -ESTALE;
	if (node.kind == NODE_FIXED && node.fixed == FIXED_LOG)
		return open_log(call);
	r = text_make(call->fs, &node, &text, &length, &at_ns);
	return r < 0 ? r : files_open_text(call, text, length);
}

/*
 * The kernel copies straight out of the map. Where the file behind the map was cut, that copy
 * fails, and the kernel answers the reader with EIO by itself.
 */
static int read_content(struct call *call, const struct handle *handle)
{
	struct contents_reader *reader = NULL;
	uint64_t offset = (uint64_t)call->offset;
	struct iovec vectors[VECTORS_MAX];
	size_t left = call->size;
	int count = 0, r;

	if (offset >= handle->size)
		left = 0;
	else if (left > handle->size - offset)
		left = (size_t)(handle->size - offset);
	r = contents_reader_open(handle->store, &reader);
	if (r < 0)
		return r;
	while (left > 0 && r == 0) {
		int added = 0;
		ssize_t n = -EIO;

		if (count < VECTORS_MAX)
			n = contents_map(reader, &handle->digest, offset, left, vectors + count,
					 VECTORS_MAX - count, &added);
		if (n <= 0) {
			r = -EIO;
			break;
		}
		count += added;
		offset += (uint64_t)n;
		left -= (size_t)n;
	}
	if (r == 0)
		fuse_reply_iov(call->request, vectors, count);
	contents_reader_close(reader);
	return r;
}

/* The reader may close as soon as the kernel has the answer, before writev(2) has returned here. */
static int read_text(struct call *call, struct handle *handle)
{
	uint64_t offset = (uint64_t)call->offset;
	size_t length = call->size;

	if (offset >= handle->size)
		length = 0;
	else if (length > handle->size - offset)
		length = (size_t)(handle->size - offset);
	handle_get(handle);
	fuse_reply_buf(call->request, length ? handle->text + offset : NULL, length);
	handle_put(call->fs, handle);
	return 0;
}

int files_read_bytes(struct call *call, struct handle *handle)
{
	return handle->text ? read_text(call, handle) : read_content(call, handle);
}

static int read_log(struct call *call)
{
	char *buffer = malloc(call->size ? call->size : 1);
	ssize_t n;

	if (!buffer)
		return -ENOMEM;
	n = log_read(call->fs->engine, (uint64_t)call->offset, buffer, call->size);
	if (n >= 0)
		fuse_reply_buf(call->request, buffer, (size_t)n);
	free(buffer);
	return n < 0 ? (int)n : 0;
}

int files_read(struct call *call)
{
	struct handle *handle = handle_of(&call->file);

	switch (handle->kind) {
	case HANDLE_CONTENT:
		return read_content(call, handle);
	case HANDLE_ARCHIVE:
		return archive_read(call);
	case HANDLE_TEXT:
		return read_text(call, handle);
	case HANDLE_LOG:
		return read_log(call);
	case HANDLE_NOTHING:
	case HANDLE_TIMER:
	case HANDLE_CTL:
		fuse_reply_buf(call->request, NULL, 0);
		return 0;
	case HANDLE_LISTING:
	case HANDLE_TREE:
	case HANDLE_SPOOL:
	case HANDLE_RUN_LOG:
	case HANDLE_HISTORY:
	case HANDLE_WAIT:
		break;
	}
	return -EBADF;
}
