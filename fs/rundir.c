/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the map of runs/ and by-status/: which names there are, who may see them, and what stat(2)
 * says. Every size is the one that a read would find at that moment, except in wait/, whose files
 * read until there is something, and which lists nothing, so that nobody who walks the tree hangs.
 */
#include "fs/rundir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/attr.h"
#include "fs/box.h"
#include "fs/dropbox.h"

#define RUN_TARGET "../../runs/"
#define PACKAGE_TARGET "../../packages/"
#define HISTORY_QUICK 64 /* so many events are put together without a worker */

static const struct part {
	const char *name;
	enum place place;
	mode_t mode;
} run_parts[] =
    {
	{"package", PLACE_RUN_PACKAGE, S_IFLNK | 0777},
	{"input", PLACE_RUN_INPUT, S_IFREG | 0400},
	{"result", PLACE_RUN_RESULT, S_IFREG | 0400},
	{"error", PLACE_RUN_ERROR, S_IFREG | 0400},
	{"log", PLACE_RUN_LOG, S_IFREG | 0400},
	{"status", PLACE_RUN_STATUS, S_IFREG | 0400},
	{"history", PLACE_RUN_HISTORY, S_IFREG | 0400},
	{"ctl", PLACE_RUN_CTL, S_IFREG | 0200},
	{"steps", PLACE_STEPS, S_IFDIR | 0700},
	{"timers", PLACE_TIMERS, S_IFDIR | 0700},
	{"signals", PLACE_SIGNALS, S_IFDIR | 0700},
	{"wait", PLACE_WAIT, S_IFDIR | 0500},
	{NULL, PLACES, 0},
},
  wait_parts[] = {
      {"result", PLACE_WAIT_RESULT, S_IFREG | 0400},
      {"timers", PLACE_WAIT_TIMERS, S_IFDIR | 0500},
      {"signals", PLACE_WAIT_SIGNALS, S_IFDIR | 0500},
      {NULL, PLACES, 0},
};

static const struct part *find_part(const struct part *parts, const char *name, enum place place)
{
	for (const struct part *part = parts; part->name; part++)
		if (name ? strcmp(part->name, name) == 0 : part->place == place)
			return part;
	return NULL;
}

static const struct part *part_of(enum place place)
{
	const struct part *part = find_part(run_parts, NULL, place);

	return part ? part : find_part(wait_parts, NULL, place);
}

bool rundir_owns(const struct node *node)
{
	if (node->kind == NODE_FIXED)
		return node->fixed == FIXED_RUNS || node->fixed == FIXED_BY_STATUS;
	return node->kind == NODE_NAMED && node->place >= PLACE_STATUS;
}

const char *rundir_split(const char *text, struct rundir_name *ret_name)
{
	char *slash;

	snprintf(ret_name->id, sizeof(ret_name->id), "%s", text);
	slash = strchr(ret_name->id, '/');
	ret_name->name = NULL;
	if (slash) {
		*slash = '\0';
		ret_name->name = slash + 1;
	}
	return ret_name->id;
}

bool rundir_value(enum place place, enum run_value *ret_value)
{
	static const struct {
		enum place place;
		enum run_value value;
	} values[] = {
	    {PLACE_RUN_INPUT, RUN_VALUE_INPUT},	   {PLACE_RUN_RESULT, RUN_VALUE_RESULT},
	    {PLACE_WAIT_RESULT, RUN_VALUE_RESULT}, {PLACE_STEP, RUN_VALUE_STEP},
	    {PLACE_TIMER, RUN_VALUE_TIMER},	   {PLACE_WAIT_TIMER, RUN_VALUE_TIMER},
	    {PLACE_SIGNAL, RUN_VALUE_SIGNAL},	   {PLACE_WAIT_SIGNAL, RUN_VALUE_SIGNAL},
	};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		if (values[i].place == place) {
			*ret_value = values[i].value;
			return true;
		}
	}
	return false;
}

int rundir_check(struct call *call, const struct node *node)
{
	struct rundir_name name;

	if (node->kind != NODE_NAMED || node->place < PLACE_RUN)
		return 0;
	return runs_check_access(call->fs->engine, &call->caller, rundir_split(node->name, &name));
}

/* Which place the names in a directory of recorded things are of. */
static enum place item_place(enum place directory)
{
	static const enum place places[PLACES] = {
	    [PLACE_STEPS] = PLACE_STEP,
	    [PLACE_TIMERS] = PLACE_TIMER,
	    [PLACE_SIGNALS] = PLACE_SIGNAL,
	    [PLACE_WAIT_TIMERS] = PLACE_WAIT_TIMER,
	    [PLACE_WAIT_SIGNALS] = PLACE_WAIT_SIGNAL,
	};

	return places[directory] ? places[directory] : PLACES;
}

static int child_of_fixed(const struct node *parent, const char *name, struct node *ret_child)
{
	if (parent->fixed == FIXED_RUNS) {
		ret_child->place = PLACE_RUN;
		if (strlen(name) > RUN_ID_MAX)
			return -ENOENT;
	} else {
		ret_child->place = PLACE_STATUS;
		if (run_status_parse(name) == RUN_STATUSES)
			return -ENOENT;
	}
	strcpy(ret_child->name, name);
	return 0;
}

static int child_by_text(const struct node *parent, const char *name, enum place place,
			 struct node *ret_child)
{
	if (strlen(name) > NODE_NAME_MAX)
		return -ENAMETOOLONG;
	ret_child->place = place;
	snprintf(ret_child->name, sizeof(ret_child->name), "%.*s/%s",
		 NODE_TEXT_MAX - NODE_NAME_MAX - 1, parent->name, name);
	return 0;
}

int rundir_child(struct call *call, const struct node *parent, const char *name,
		 struct node *ret_child)
{
	const struct part *part;
	int r = rundir_check(call, parent);

	if (r < 0)
		return r;
	ret_child->kind = NODE_NAMED;
	if (parent->kind == NODE_FIXED)
		return child_of_fixed(parent, name, ret_child);
	if (parent->place == PLACE_STATUS)
		return child_by_text(parent, name, PLACE_STATUS_RUN, ret_child);
	if (item_place(parent->place) != PLACES)
		return child_by_text(parent, name, item_place(parent->place), ret_child);
	if (parent->place != PLACE_RUN && parent->place != PLACE_WAIT)
		return -ENOTDIR;
	part = find_part(parent->place == PLACE_RUN ? run_parts : wait_parts, name, PLACES);
	if (!part)
		return -ENOENT;
	ret_child->place = part->place;
	strcpy(ret_child->name, parent->name);
	return 0;
}

void rundir_attr(struct fs *fs, const struct node *node, uid_t uid, gid_t gid, mode_t mode,
		 uint64_t size, int64_t time_ns, struct stat *ret_attr)
{
	attr_file(fs, ret_attr, inode_of_name(node->place, node->name), 0, size, time_ns);
	ret_attr->st_mode = mode;
	ret_attr->st_uid = uid;
	ret_attr->st_gid = gid;
}

bool rundir_takes_long(struct call *call, const char *id)
{
	if (call->may_block || runs_is_quick(call->fs->engine, id))
		return false;
	call->group = WORK_RUNS;
	return true;
}

/* A value of a run that the view is of; `name` is NULL for input and result. */
static int describe_value(struct call *call, const struct node *node, const struct run_view *view,
			  const char *name, mode_t mode, struct stat *ret_attr)
{
	struct run_value_view value;
	enum run_value kind;
	int r;

	if (!rundir_value(node->place, &kind))
		return -ENOENT;
	if (name && rundir_takes_long(call, view->id))
		return -EAGAIN;
	r = runs_find_value(call->fs->engine, view->id, kind, name, &value);
	if (r == 0)
		rundir_attr(call->fs, node, view->uid, view->gid, mode, value.bytes, value.at_ns,
			    ret_attr);
	return r;
}

int rundir_describe_value(struct call *call, enum place place, const char *text, mode_t mode,
			  struct stat *ret_attr)
{
	struct node node = {.kind = NODE_NAMED, .place = place};
	struct rundir_name name;
	struct run_view view;
	int r = runs_view(call->fs->engine, rundir_split(text, &name), &view);

	if (r < 0)
		return r;
	snprintf(node.name, sizeof(node.name), "%s", text);
	return describe_value(call, &node, &view, name.name, mode, ret_attr);
}

int rundir_refuse_removal(struct call *call, const struct box_kind *kind, const char *text)
{
	struct stat attr;
	int r = rundir_describe_value(call, kind->place, text, S_IFREG, &attr);

	return r == 0 ? -EPERM : r;
}

/* What must be put together to know its length. */
static int measure(struct call *call, const struct node *node, const struct run_view *view,
		   uint64_t *ret_size)
{
	struct engine *engine = call->fs->engine;
	char *text = NULL;
	size_t length = 0;
	int r;

	if (node->place == PLACE_RUN_LOG)
		return runs_log_size(engine, view->id, ret_size);
	if (node->place == PLACE_RUN_HISTORY && view->sequence > HISTORY_QUICK &&
	    !call->may_block) {
		call->group = WORK_RUNS;
		return -EAGAIN;
	}
	if (node->place == PLACE_RUN_HISTORY)
		r = runs_history(engine, view->id, &text, &length);
	else if (node->place == PLACE_RUN_STATUS)
		r = runs_status_text(engine, view->id, &text, &length);
	else
		r = view->has_error ? runs_error(engine, view->id, &text, &length) : -ENOENT;
	free(text);
	*ret_size = length;
	return r;
}

/* What there is of every run. */
static int describe_part(struct call *call, const struct node *node, const struct run_view *view,
			 const struct part *part, struct stat *ret_attr)
{
	uint64_t size = 0;
	int r = 0;

	switch ((int)part->place) {
	case PLACE_RUN_INPUT:
	case PLACE_RUN_RESULT:
		return describe_value(call, node, view, NULL, part->mode, ret_attr);
	case PLACE_RUN_PACKAGE:
		size = sizeof(PACKAGE_TARGET) - 1 + strlen(view->type) + 1 + DIGEST_HEX;
		break;
	case PLACE_RUN_LOG:
	case PLACE_RUN_STATUS:
	case PLACE_RUN_HISTORY:
	case PLACE_RUN_ERROR:
		r = measure(call, node, view, &size);
		break;
	default:
		break;
	}
	if (r == 0)
		rundir_attr(call->fs, node, view->uid, view->gid, part->mode, size,
			    view->changed_ns, ret_attr);
	return r;
}

static int describe_status_run(struct fs *fs, const struct node *node, struct stat *ret_attr)
{
	struct rundir_name name;
	struct run_view view;
	int r;

	rundir_split(node->name, &name);
	r = runs_view(fs->engine, name.name, &view);
	if (r < 0)
		return r;
	if (strcmp(run_status_name(view.status), name.id) != 0)
		return -ENOENT;
	rundir_attr(fs, node, view.uid, view.gid, S_IFLNK | 0777,
		    sizeof(RUN_TARGET) - 1 + strlen(view.id), view.changed_ns, ret_attr);
	return 0;
}

/* runs/ID, and all that is in it. */
static int describe_in_run(struct call *call, const struct node *node, struct stat *ret_attr)
{
	const struct part *part = part_of(node->place);
	struct rundir_name name;
	struct run_view view;
	int r = runs_view(call->fs->engine, rundir_split(node->name, &name), &view);

	if (r < 0)
		return r;
	if (part)
		return describe_part(call, node, &view, part, ret_attr);
	if (node->place == PLACE_TIMER)
		return describe_value(call, node, &view, name.name, S_IFREG | 0600, ret_attr);
	if (node->place != PLACE_RUN && !event_name_is_valid(name.name))
		return -ENOENT;
	rundir_attr(call->fs, node, view.uid, view.gid,
		    node->place == PLACE_RUN ? S_IFDIR | 0700 : S_IFREG | 0400, 0, view.changed_ns,
		    ret_attr);
	return 0;
}

/* The kernel has 32 bits for it. */
uint64_t rundir_generation(struct fs *fs, const struct node *node)
{
	struct rundir_name name;
	struct run_view view;

	if (node->kind != NODE_NAMED || node->place < PLACE_RUN ||
	    runs_view(fs->engine, rundir_split(node->name, &name), &view) < 0)
		return 0;
	return (uint32_t)view.number;
}

int rundir_describe(struct call *call, const struct node *node, struct fuse_entry_param *ret_entry)
{
	const struct box_kind *box = box_of_file(node);
	struct stat *attr = &ret_entry->attr;
	struct fs *fs = call->fs;

	ret_entry->generation = rundir_generation(fs, node);
	if (box)
		return dropbox_describe(call, box, node->name, attr);
	if (node->place == PLACE_STATUS_RUN)
		return describe_status_run(fs, node, attr);
	if (node->place != PLACE_STATUS)
		return describe_in_run(call, node, attr);
	attr_directory(fs, attr, inode_of_name(node->place, node->name),
		       runs_changed_ns(fs->engine));
	return 0;
}

int rundir_describe_open(struct call *call, const struct node *node,
			 struct fuse_entry_param *ret_entry)
{
	struct rundir_name name;
	struct run_view view;
	int r = rundir_describe(call, node, ret_entry);

	if (r != -ENOENT || node->place != PLACE_TIMER)
		return r;
	r = runs_view(call->fs->engine, rundir_split(node->name, &name), &view);
	if (r == 0)
		rundir_attr(call->fs, node, view.uid, view.gid, S_IFREG | 0600, 0, view.changed_ns,
			    &ret_entry->attr);
	return r;
}

static int add_name(void *context, const char *name)
{
	return listing_add(context, name);
}

int rundir_list_items(struct call *call, const char *id, enum item_kind kind,
		      struct listing *listing)
{
	if (rundir_takes_long(call, id))
		return -EAGAIN;
	return runs_each_item(call->fs->engine, id, kind, add_name, listing);
}

static int list_statuses(struct listing *listing)
{
	int r = 0;

	for (int status = 0; status < RUN_STATUSES && r == 0; status++)
		r = listing_add(listing, run_status_name((enum run_status)status));
	return r;
}

static int list_parts(struct listing *listing)
{
	int r = 0;

	for (const struct part *part = run_parts; part->name && r == 0; part++)
		r = listing_add(listing, part->name);
	return r;
}

int rundir_list(struct call *call, const struct node *node, struct listing *ret_listing)
{
	struct engine *engine = call->fs->engine;
	int r = rundir_check(call, node);

	if (r < 0)
		return r;
	if (node->kind == NODE_FIXED && node->fixed == FIXED_BY_STATUS)
		return list_statuses(ret_listing);
	if (node->kind == NODE_FIXED)
		return runs_each_id(engine, RUN_STATUSES, add_name, ret_listing);
	switch ((int)node->place) {
	case PLACE_STATUS:
		return runs_each_id(engine, run_status_parse(node->name), add_name, ret_listing);
	case PLACE_RUN:
		return list_parts(ret_listing);
	case PLACE_STEPS:
	case PLACE_SIGNALS:
		return dropbox_list(call, node, ret_listing);
	case PLACE_TIMERS:
		return rundir_list_items(call, node->name, ITEM_TIMER, ret_listing);
	case PLACE_WAIT:
	case PLACE_WAIT_TIMERS:
	case PLACE_WAIT_SIGNALS:
		return 0;
	default:
		return -ENOTDIR;
	}
}

int rundir_readlink(struct call *call, const struct node *node)
{
	char target[sizeof(PACKAGE_TARGET) + TYPE_MAX + 1 + DIGEST_HEX];
	char hex[DIGEST_HEX + 1];
	struct rundir_name name;
	struct run_view view;
	int r;

	rundir_split(node->name, &name);
	if (node->place == PLACE_STATUS_RUN) {
		snprintf(target, sizeof(target), RUN_TARGET "%.*s", RUN_ID_MAX, name.name);
	} else if (node->place == PLACE_RUN_PACKAGE) {
		r = runs_view(call->fs->engine, name.id, &view);
		if (r < 0)
			return r;
		snprintf(target, sizeof(target), PACKAGE_TARGET "%s/%s", view.type,
			 digest_hex(&view.version, hex));
	} else {
		return -EINVAL;
	}
	fuse_reply_readlink(call->request, target);
	return 0;
}

static bool can_be_written(const struct node *node)
{
	return node->kind == NODE_NAMED &&
	       (node->place == PLACE_RUN_CTL || node->place == PLACE_TIMER ||
		node->place == PLACE_STEPS || node->place == PLACE_SIGNALS);
}

int rundir_setattr(struct call *call)
{
	struct fuse_entry_param entry = {0};
	struct node node;
	int r;

	node_resolve(call->fs->nodes, call->node, &node);
	if (!can_be_written(&node))
		return -EPERM;
	r = rundir_check(call, &node);
	if (r == 0)
		r = rundir_describe_open(call, &node, &entry);
	if (r == 0)
		fuse_reply_attr(call->request, &entry.attr, TIMEOUT_NEVER);
	return r;
}
