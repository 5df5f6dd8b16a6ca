/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns what is particular to deploy/ and stage/: archives, which are decoded ahead of the commit
 * and tell by themselves whether they are whole, and persistent receipts.
 */
#include <errno.h>
#include <stdlib.h>

#include "engine/permit.h"
#include "engine/receipt.h"
#include "fs/attr.h"
#include "fs/box.h"
#include "fs/files.h"
#include "fs/spool.h"

static enum box box_number(const struct box_kind *kind)
{
	return kind == &box_stage ? BOX_STAGE : BOX_DEPLOY;
}

static uint64_t limit(const struct fs *fs)
{
	return fs->engine->options.limits.archive_bytes;
}

static int check(struct call *call, const struct box_kind *kind, const char *name)
{
	struct reason reason = {0};

	return permit_deploy(call->fs->engine, &call->caller, box_name(box_number(kind)), name,
			     &reason);
}

static int check_rename(struct call *call, const struct box_kind *kind, const char *name,
			const char *new_name)
{
	(void)name;
	return box_is_dot(new_name) ? 0 : check(call, kind, new_name);
}

static int prepare(struct call *call, struct spool *spool, struct reason *reason)
{
	return deploy_prepare(call->fs->engine, spool->fd, atomic_load(&spool->size),
			      &call->is_cancelled, &spool->prepared, reason);
}

static int commit(struct call *call, struct spool *spool, const char *name,
		  const struct caller *caller, struct reason *reason)
{
	int r = deploy_commit(call->fs->engine, spool->prepared, box_number(spool->kind), name,
			      caller, reason);

	if (r == 0)
		spool->prepared = NULL;
	return r;
}

static void failed(struct fs *fs, const struct box_kind *kind, const char *name,
		   const struct caller *caller, const struct reason *reason)
{
	deploy_failed(fs->engine, box_number(kind), name, caller, reason);
}

static void note_empty(struct fs *fs, struct spool *spool)
{
	struct reason reason = {0};

	if (atomic_exchange(&spool->has_verdict, true))
		return;
	reason_set(&reason, EBADMSG, "archive_empty",
		   "the file was closed with nothing written into it; nothing is deployed");
	failed(fs, spool->kind, spool->name, &spool->caller, &reason);
}

static int describe(struct call *call, const struct box_kind *kind, const char *name,
		    struct stat *ret_attr)
{
	struct receipt receipt = {0};

	if (receipt_stat(call->fs->engine, box_number(kind), name, &receipt) < 0)
		return -ENOENT;
	attr_file(call->fs, ret_attr, inode_of_name(kind->place, name), 0644, receipt.length,
		  receipt.at_ns);
	ret_attr->st_uid = receipt.uid;
	return 0;
}

static int open_receipt(struct call *call, const struct box_kind *kind, const char *name)
{
	struct receipt receipt = {0};
	int r = receipt_get(call->fs->engine, box_number(kind), name, &receipt);

	return r < 0 ? r : files_open_text(call, receipt.text, receipt.length);
}

static int list(struct call *call, const struct box_kind *kind, const char *prefix,
		struct listing *listing)
{
	char **names = NULL;
	size_t count = 0;
	int r = receipt_list(call->fs->engine, box_number(kind), &names, &count);

	(void)prefix;
	for (size_t i = 0; i < count && r == 0; i++)
		r = listing_add(listing, names[i]);
	free(names);
	return r;
}

static int remove_receipt(struct call *call, const struct box_kind *kind, const char *name)
{
	struct reason reason = {0};

	return receipt_remove(call->fs->engine, box_number(kind), name, &call->caller, &reason);
}

/* deploy/ and stage/ differ in what the commit makes of their number. */
#define ARCHIVE_BOX(where)                                                                         \
	{                                                                                          \
		.place = where, .group = WORK_DECODE, .is_interruptible = true, .noun = "archive", \
		.too_large = "archive_too_large",                                                  \
		.limit_name = "max_archive_bytes=", .limit = limit, .check = check,                \
		.prepare = prepare, .commit = commit, .failed = failed, .note_empty = note_empty,  \
		.describe = describe, .open = open_receipt, .list = list,                          \
		.remove = remove_receipt, .check_touch = check, .check_rename = check_rename,      \
	}

const struct box_kind box_deploy = ARCHIVE_BOX(PLACE_DEPLOY);
const struct box_kind box_stage = ARCHIVE_BOX(PLACE_STAGE);
