/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns start/: a file that is written there is the input of a run, whose ID is the file's name. It
 * reads back as a receipt: of the run, or of the last failure since. Texts are "TYPE/ID" and
 * "TYPE/VERSION/ID".
 *
 * `rm` removes the receipt and nothing else, as in deploy/: the run goes on, and its name in start/
 * is free for the same start again, which is a success. A receipt is for those who may look into
 * the run.
 */
#include "fs/startbox.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/audit.h"
#include "engine/clock.h"
#include "engine/permit.h"
#include "engine/runs.h"
#include "engine/start.h"
#include "fs/attr.h"
#include "fs/dropbox.h"
#include "fs/failures.h"
#include "fs/files.h"
#include "fs/spool.h"

/* A text taken apart. */
struct start_name {
	char copy[NODE_TEXT_MAX + 1];
	const char *type, *id;
	bool has_version;
	struct digest version;
};

static int parse(const char *text, struct start_name *ret_name)
{
	char *first, *last;

	snprintf(ret_name->copy, sizeof(ret_name->copy), "%s", text);
	first = strchr(ret_name->copy, '/');
	last = strrchr(ret_name->copy, '/');
	if (!first)
		return -ENOENT;
	*first = *last = '\0';
	ret_name->type = ret_name->copy;
	ret_name->id = last + 1;
	ret_name->has_version = last > first;
	if (!ret_name->has_version)
		return 0;
	return digest_parse(first + 1, strlen(first + 1), &ret_name->version) < 0 ? -ENOENT : 0;
}

static const struct digest *version_of(const struct start_name *name)
{
	return name->has_version ? &name->version : NULL;
}

/* What a name shows. */
struct shown {
	struct failure receipt;
	char *text; /* of the receipt: free() */
	gid_t gid;
};

static int make_receipt(const struct run_view *view, struct shown *ret_shown)
{
	char at[CLOCK_TEXT], hex[DIGEST_HEX + 1];
	json_t *json =
	    json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "status", "started", "id", view->id, "type",
		      view->type, "version", digest_hex(&view->version, hex), "at",
		      clock_format(view->started_ns, at), "uid", (json_int_t)view->uid);
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

	json_decref(json);
	ret_shown->text = audit_newline(text, &ret_shown->receipt.length);
	ret_shown->receipt.at_ns = view->started_ns;
	ret_shown->receipt.uid = view->uid;
	ret_shown->gid = view->gid;
	return ret_shown->text ? 0 : -ENOMEM;
}

/* The run that a start under this name made, or would repeat. */
static int find_run(struct fs *fs, const char *text, struct run_view *ret_view)
{
	struct start_name name;
	int r = parse(text, &name);

	if (r == 0)
		r = runs_view(fs->engine, name.id, ret_view);
	if (r == 0 && (strcmp(ret_view->type, name.type) != 0 ||
		       (name.has_version && !digest_equal(&ret_view->version, &name.version))))
		r = -ENOENT;
	return r;
}

static int show(struct fs *fs, const char *text, struct shown *ret_shown)
{
	struct run_view view;
	int r;

	memset(ret_shown, 0, sizeof(*ret_shown));
	r = failures_get(fs->failures, text, &ret_shown->receipt);
	if (r == 0) {
		ret_shown->text = ret_shown->receipt.text;
		ret_shown->gid = fs->options.group;
		return ret_shown->text ? 0 : -ENOENT;
	}
	if (r == -ENOENT)
		r = find_run(fs, text, &view);
	return r < 0 ? r : make_receipt(&view, ret_shown);
}

static char *failure_text(const struct start_name *name, const struct caller *caller, int64_t at_ns,
			  const struct reason *reason, size_t *ret_length)
{
	const char *message = reason->message[0] ? reason->message : strerror(reason->error);
	char at[CLOCK_TEXT], *text;
	json_t *json = json_pack("{s:s, s:o, s:o, s:{s:s, s:o}, s:s, s:I}", "status", "failed",
				 "id", audit_string(name->id), "type", audit_string(name->type),
				 "error", "code", reason->code, "message", audit_string(message),
				 "at", clock_format(at_ns, at), "uid", (json_int_t)caller->uid);

	text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	json_decref(json);
	return audit_newline(text, ret_length);
}

/* Who may not start it does not get to say what others find under the name, either. */
static void failed(struct fs *fs, const struct box_kind *kind, const char *text,
		   const struct caller *caller, const struct reason *reason)
{
	struct failure failure = {.at_ns = clock_wall_ns(), .uid = caller->uid};
	struct start_name name;

	(void)kind;
	if (reason->error == EACCES || parse(text, &name) < 0)
		return;
	failure.text = failure_text(&name, caller, failure.at_ns, reason, &failure.length);
	if (failure.text)
		failures_add(fs->failures, text, &failure);
}

static uint64_t limit(const struct fs *fs)
{
	(void)fs;
	return INPUT_BYTES_MAX;
}

/* The answer is a bare errno, so the reason goes into a receipt already here. */
static int check(struct call *call, const struct box_kind *kind, const char *text)
{
	bool is_dot = box_is_dot(text);
	struct reason reason = {0};
	struct start_name name;
	int r = parse(text, &name);

	if (r == 0)
		r = start_check(call->fs->engine, &call->caller, name.type, version_of(&name),
				is_dot ? NULL : name.id, &reason);
	if (r < 0 && !is_dot && reason.error)
		failed(call->fs, kind, text, &call->caller, &reason);
	return r;
}

/* The commit judges all, and its reason reaches a receipt. */
static int check_rename(struct call *call, const struct box_kind *kind, const char *text,
			const char *new_text)
{
	(void)call;
	(void)kind;
	(void)text;
	(void)new_text;
	return 0;
}

/* A run belongs to who wrote its input, also when root gives that its final name. */
static int commit(struct call *call, struct spool *spool, const char *text,
		  const struct caller *caller, struct reason *reason)
{
	struct start_name name;
	int r = parse(text, &name);

	if (caller->uid != spool->caller.uid)
		caller = &spool->caller;
	if (r == 0)
		r = start_run(call->fs->engine, caller, name.type, version_of(&name), name.id,
			      spool->fd, atomic_load(&spool->size), reason);
	if (r == 0)
		failures_remove(call->fs->failures, text);
	return r;
}

static int describe(struct call *call, const struct box_kind *kind, const char *text,
		    struct stat *ret_attr)
{
	struct shown shown;
	int r = show(call->fs, text, &shown);

	if (r < 0)
		return r;
	attr_file(call->fs, ret_attr, inode_of_name(kind->place, text), 0600, shown.receipt.length,
		  shown.receipt.at_ns);
	ret_attr->st_uid = shown.receipt.uid;
	ret_attr->st_gid = shown.gid;
	free(shown.text);
	return 0;
}

static int open_receipt(struct call *call, const struct box_kind *kind, const char *text)
{
	struct shown shown;
	int r = show(call->fs, text, &shown);

	(void)kind;
	if (r < 0)
		return r;
	if (!permit_user(call->fs->engine, &call->caller, shown.receipt.uid)) {
		free(shown.text);
		return -EACCES;
	}
	return files_open_text(call, shown.text, shown.receipt.length);
}

static int list_nothing(struct call *call, const struct box_kind *kind, const char *prefix,
			struct listing *listing)
{
	(void)call;
	(void)kind;
	(void)prefix;
	(void)listing;
	return 0;
}

/* That a run's receipt was removed must be remembered, since the run would show it again. */
static int remove_receipt(struct call *call, const struct box_kind *kind, const char *text)
{
	struct failure removed = {.uid = call->caller.uid};
	struct run_view view;
	struct shown shown;
	int r = show(call->fs, text, &shown);

	(void)kind;
	if (r < 0)
		return r;
	free(shown.text);
	if (!permit_user(call->fs->engine, &call->caller, shown.receipt.uid))
		return -EACCES;
	failures_remove(call->fs->failures, text);
	if (find_run(call->fs, text, &view) == 0)
		failures_add(call->fs->failures, text, &removed);
	return 0;
}

const struct box_kind box_start = {
    .place = PLACE_START,
    .group = WORK_RUNS,
    .quota = QUOTA_USERS,
    .takes_any_bytes = true,
    .noun = "input",
    .too_large = "input_too_large",
    .limit_name = "",
    .limit = limit,
    .check = check,
    .commit = commit,
    .failed = failed,
    .describe = describe,
    .open = open_receipt,
    .list = list_nothing,
    .remove = remove_receipt,
    .check_rename = check_rename,
};

bool startbox_owns(const struct node *node)
{
	if (node->kind == NODE_FIXED)
		return node->fixed == FIXED_START;
	return node->kind == NODE_NAMED &&
	       (node->place == PLACE_START_TYPE || node->place == PLACE_START_VERSION ||
		node->place == PLACE_START);
}

/* Whether the version that a directory is for is loaded. */
static bool has_version(struct fs *fs, const char *type, const char *hex)
{
	struct version *version = NULL;
	struct digest digest;

	if (strlen(hex) == DIGEST_HEX && digest_parse(hex, DIGEST_HEX, &digest) == 0)
		version = catalog_find(fs->engine->catalog, type, &digest);
	version_put(version);
	return version != NULL;
}

int startbox_child(struct call *call, const struct node *parent, const char *name,
		   struct node *ret_child)
{
	struct box_file file;
	int r;

	ret_child->kind = NODE_NAMED;
	if (parent->kind == NODE_FIXED) {
		if (strlen(name) > TYPE_MAX)
			return -ENOENT;
		ret_child->place = PLACE_START_TYPE;
		strcpy(ret_child->name, name);
		return 0;
	}
	r = box_file_in(parent, name, &file);
	if (r < 0)
		return r == -EPERM ? -ENOTDIR : r;
	ret_child->place = PLACE_START;
	if (parent->place == PLACE_START_TYPE && has_version(call->fs, parent->name, name))
		ret_child->place = PLACE_START_VERSION;
	strcpy(ret_child->name, file.text);
	return 0;
}

static bool is_there(struct fs *fs, const struct node *node)
{
	struct start_name name;

	if (node->kind == NODE_FIXED)
		return true;
	if (node->place == PLACE_START_TYPE)
		return catalog_has_type(fs->engine->catalog, node->name);
	return parse(node->name, &name) == 0 && has_version(fs, name.type, name.id);
}

/* The directories show by their mode who may start: their owner, and members of a group. */
int startbox_describe(struct call *call, const struct node *node,
		      struct fuse_entry_param *ret_entry)
{
	const struct engine_options *options = &call->fs->engine->options;
	struct stat *attr = &ret_entry->attr;
	uint64_t inode;

	if (node->kind == NODE_NAMED && node->place == PLACE_START)
		return dropbox_describe(call, &box_start, node->name, attr);
	if (!is_there(call->fs, node))
		return -ENOENT;
	inode = node->kind == NODE_FIXED ? inode_of_fixed(node->fixed)
					 : inode_of_name(node->place, node->name);
	attr_directory(call->fs, attr, inode, runs_changed_ns(call->fs->engine));
	if (options->has_start_group || options->has_deploy_group) {
		attr->st_mode |= S_IWGRP;
		attr->st_gid =
		    options->has_start_group ? options->start_group : options->deploy_group;
	}
	return 0;
}

static int list_types(struct fs *fs, struct listing *ret_listing)
{
	struct name_list names = {0};
	int r = catalog_list_types(fs->engine->catalog, &names);

	for (size_t i = 0; i < names.count && r == 0; i++)
		r = listing_add(ret_listing, names.names[i]);
	free(names.names);
	return r;
}

static int list_versions(struct fs *fs, const char *type, struct listing *ret_listing)
{
	struct version_list list = {0};
	int r = catalog_list_versions(fs->engine->catalog, type, &list);

	if (r < 0)
		return r;
	for (size_t i = 0; i < list.count && r == 0; i++)
		r = listing_add(ret_listing, list.versions[i]->hex);
	catalog_list_free(&list);
	return r;
}

int startbox_list(struct call *call, const struct node *node, struct listing *ret_listing)
{
	int r = 0;

	if (node->kind == NODE_FIXED)
		return list_types(call->fs, ret_listing);
	if (node->place == PLACE_START)
		return -ENOTDIR;
	if (node->place == PLACE_START_TYPE)
		r = list_versions(call->fs, node->name, ret_listing);
	return r < 0 ? r : dropbox_list(call, node, ret_listing);
}
