/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the table of boxes: which directories are one, and what their files are called inside. */
#include "fs/box.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct box_kind *const kinds[] = {
    &box_deploy, &box_stage, &box_start, &box_signal, &box_step,
};

const struct box_kind *box_of_directory(const struct node *node)
{
	if (node->kind == NODE_FIXED && node->fixed == FIXED_DEPLOY)
		return &box_deploy;
	if (node->kind == NODE_FIXED && node->fixed == FIXED_STAGE)
		return &box_stage;
	if (node->kind != NODE_NAMED)
		return NULL;
	if (node->place == PLACE_START_TYPE || node->place == PLACE_START_VERSION)
		return &box_start;
	if (node->place == PLACE_SIGNALS)
		return &box_signal;
	return node->place == PLACE_STEPS ? &box_step : NULL;
}

const struct box_kind *box_of_file(const struct node *node)
{
	for (size_t i = 0; node->kind == NODE_NAMED && i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (kinds[i]->place == node->place)
			return kinds[i];
	return NULL;
}

const char *box_prefix(const struct node *directory, char prefix[NODE_TEXT_MAX + 1])
{
	prefix[0] = '\0';
	if (directory->kind == NODE_NAMED)
		snprintf(prefix, NODE_TEXT_MAX + 1, "%.*s/", NODE_TEXT_MAX - 1, directory->name);
	return prefix;
}

int box_file_in(const struct node *directory, const char *name, struct box_file *ret_file)
{
	size_t length;

	ret_file->kind = box_of_directory(directory);
	if (!ret_file->kind)
		return -EPERM;
	length = strlen(box_prefix(directory, ret_file->text));
	if (strlen(name) > NODE_NAME_MAX || length + strlen(name) > NODE_TEXT_MAX)
		return -ENAMETOOLONG;
	strcpy(ret_file->text + length, name);
	return 0;
}

const char *box_leaf(const char *text)
{
	const char *slash = strrchr(text, '/');

	return slash ? slash + 1 : text;
}
