/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the extended attributes: what a version's directory says about itself without being opened.
 */
#include "fs/xattr.h"

#include <errno.h>
#include <string.h>

#include "fs/package.h"

#define NAME_TYPE "user.aionfs.type"
#define NAME_VERSION "user.aionfs.version"
#define NAME_LABEL "user.aionfs.label"

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

static struct version *version_of(struct call *call)
{
	struct node node;

	node_resolve(call->fs->nodes, call->node, &node);
	if (node.kind != NODE_ENTRY || node.entry != 0)
		return NULL;
	return package_version(call, node.slot, true);
}

int xattr_get(struct call *call)
{
	struct version *version = version_of(call);
	const char *value = NULL;
	int r = -ENODATA;

	if (!version)
		return -ENODATA;
	if (strcmp(call->name, NAME_TYPE) == 0)
		value = version->type;
	else if (strcmp(call->name, NAME_VERSION) == 0)
		value = version->hex;
	else if (strcmp(call->name, NAME_LABEL) == 0 && version->manifest.label[0])
		value = version->manifest.label;
	if (value)
		r = answer(call, value, strlen(value));
	version_put(version);
	return r;
}

int xattr_list(struct call *call)
{
	static const char names[] = NAME_TYPE "\0" NAME_VERSION "\0" NAME_LABEL;
	struct version *version = version_of(call);
	size_t length = 0;

	if (version) {
		length = sizeof(names);
		if (!version->manifest.label[0])
			length -= sizeof(NAME_LABEL);
	}
	version_put(version);
	return answer(call, names, length);
}
