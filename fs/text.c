/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the small texts of the tree. Each is made anew for every open, and for every stat, so that
 * the size is the one that a read would find at that moment.
 */
#include "fs/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/log.h"
#include "engine/quarantine.h"
#include "engine/status.h"
#include "fs/readme.h"

static int make_damage(struct fs *fs, const struct node *node, char **ret_text, size_t *ret_length,
		       int64_t *ret_at_ns)
{
	const char *slash = strchr(node->name, '/');
	char type[NODE_TEXT_MAX + 1];

	if (!slash)
		return -ENOENT;
	memcpy(type, node->name, (size_t)(slash - node->name));
	type[slash - node->name] = '\0';
	return quarantine_get(fs->engine, type, slash + 1, ret_text, ret_length, ret_at_ns);
}

/* Not the time of the question: tar would find that the file changed while it was read. */
static int64_t latest_change(struct engine *engine)
{
	int64_t logged_ns = log_changed_ns(engine);

	return logged_ns > engine->mounted_ns ? logged_ns : engine->mounted_ns;
}

int text_make(struct fs *fs, const struct node *node, char **ret_text, size_t *ret_length,
	      int64_t *ret_at_ns)
{
	if (node->kind == NODE_NAMED && node->place == PLACE_DAMAGE)
		return make_damage(fs, node, ret_text, ret_length, ret_at_ns);
	if (node->kind != NODE_FIXED)
		return -ENOENT;
	*ret_at_ns = latest_change(fs->engine);
	if (node->fixed == FIXED_STATUS)
		return status_json(fs->engine, ret_text, ret_length);
	if (node->fixed == FIXED_METRICS)
		return status_metrics(fs->engine, ret_text, ret_length);
	if (node->fixed != FIXED_README)
		return -ENOENT;
	*ret_at_ns = fs->engine->mounted_ns;
	*ret_length = sizeof(readme_text) - 1;
	*ret_text = strdup(readme_text);
	return *ret_text ? 0 : -ENOMEM;
}
