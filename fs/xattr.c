/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the extended attributes: what the directory of a version or a run says about itself without
 * being opened, and the command of a step.
 */
#include "fs/xattr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/record.h"
#include "fs/dropbox.h"
#include "fs/package.h"
#include "fs/rundir.h"
#include "fs/spool.h"

#define NAME_TYPE "user.aionfs.type"
#define NAME_VERSION "user.aionfs.version"
#define NAME_LABEL "user.aionfs.label"
#define NAME_STATUS "user.aionfs.status"
#define NAME_COMMAND "user.aionfs.command"

#define ATTRIBUTES_MAX 3

/* What something has. Owns `command`. */
struct attributes {
	size_t count;
	const char *names[ATTRIBUTES_MAX], *values[ATTRIBUTES_MAX];
	char type[TYPE_MAX + 1], hex[DIGEST_HEX + 1], label[sizeof(((struct manifest *)0)->label)];
	char *command;
};

static void add(struct attributes *attributes, const char *name, const char *value)
{
	attributes->names[attributes->count] = name;
	attributes->values[attributes->count++] = value;
}

/* Answers with a value, or with its size when nothing was offered to put it in. */
static int answer(struct call *call, const char *value, size_t length)
{
	if (call->size == 0)
		fuse_reply_xattr(call->request, length);
	else if (call->size < length)
		return -ERANGE;
	else
		fuse_reply_buf(call->request, value, length);
	return 0;
}

static void collect_version(struct call *call, const struct node *node,
			    struct attributes *ret_attributes)
{
	struct version *version = package_version(call, node->slot, true);

	if (!version)
		return;
	strcpy(ret_attributes->type, version->type);
	strcpy(ret_attributes->hex, version->hex);
	strcpy(ret_attributes->label, version->manifest.label);
	version_put(version);
	add(ret_attributes, NAME_TYPE, ret_attributes->type);
	add(ret_attributes, NAME_VERSION, ret_attributes->hex);
	if (ret_attributes->label[0])
		add(ret_attributes, NAME_LABEL, ret_attributes->label);
}

static void collect_run(struct call *call, const struct node *node,
			struct attributes *ret_attributes)
{
	struct run_view view;

	if (rundir_check(call, node) < 0 || runs_view(call->fs->engine, node->name, &view) < 0)
		return;
	strcpy(ret_attributes->type, view.type);
	digest_hex(&view.version, ret_attributes->hex);
	add(ret_attributes, NAME_TYPE, ret_attributes->type);
	add(ret_attributes, NAME_VERSION, ret_attributes->hex);
	add(ret_attributes, NAME_STATUS, run_status_name(view.status));
}

static void collect_step(struct call *call, const struct node *node,
			 struct attributes *ret_attributes)
{
	struct rundir_name name;

	rundir_split(node->name, &name);
	if (runs_step_command(call->fs->engine, name.id, name.name, &ret_attributes->command) == 0)
		add(ret_attributes, NAME_COMMAND, ret_attributes->command);
}

static void collect(struct call *call, struct attributes *ret_attributes)
{
	struct node node;

	memset(ret_attributes, 0, sizeof(*ret_attributes));
	node_resolve(call->fs->nodes, call->node, &node);
	if (node.kind == NODE_ENTRY && node.entry == 0)
		collect_version(call, &node, ret_attributes);
	else if (node.kind == NODE_NAMED && node.place == PLACE_RUN)
		collect_run(call, &node, ret_attributes);
	else if (node.kind == NODE_NAMED && node.place == PLACE_STEP)
		collect_step(call, &node, ret_attributes);
}

int xattr_get(struct call *call)
{
	struct attributes attributes;
	int r = -ENODATA;

	collect(call, &attributes);
	for (size_t i = 0; i < attributes.count && r == -ENODATA; i++)
		if (strcmp(call->name, attributes.names[i]) == 0)
			r = answer(call, attributes.values[i], strlen(attributes.values[i]));
	free(attributes.command);
	return r;
}

int xattr_list(struct call *call)
{
	char names[ATTRIBUTES_MAX * sizeof(NAME_VERSION)];
	struct attributes attributes;
	size_t length = 0;

	collect(call, &attributes);
	free(attributes.command);
	for (size_t i = 0; i < attributes.count; i++) {
		strcpy(names + length, attributes.names[i]);
		length += strlen(attributes.names[i]) + 1;
	}
	return answer(call, names, length);
}

/* The step must have been asked for, and its file be the caller's. */
int xattr_set(struct call *call)
{
	struct reason reason = {0};
	struct rundir_name name;
	struct spool *spool;
	struct node node;
	int r;

	node_resolve(call->fs->nodes, call->node, &node);
	if (box_of_file(&node) != &box_step || !box_is_dot(node.name) ||
	    strcmp(call->name, NAME_COMMAND) != 0)
		return -EOPNOTSUPP;
	if (!call->may_block) {
		call->group = WORK_RUNS;
		return -EAGAIN;
	}
	spool = spool_find_kept(call->fs, &box_step, node.name);
	if (!spool)
		return -ENOENT;
	r = dropbox_check_owner(call, spool);
	spool_close(call->fs, spool);
	if (r < 0)
		return r;
	rundir_split(node.name, &name);
	r = step_declare(call->fs->engine, &call->caller, name.id, name.name + 1, call->data,
			 call->size, &reason);
	if (r == 0)
		fuse_reply_err(call->request, 0);
	return r;
}
