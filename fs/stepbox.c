/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns what is particular to runs/ID/steps. A step is asked for by making steps/.NAME, and recorded
 * by renaming that to steps/NAME, once, by processes of the run's current attempt alone. What an
 * attempt leaves behind is of no use to the next, and goes when its processes have gone (fs.c).
 * Texts are "ID/NAME" and "ID/.NAME".
 */
#include <errno.h>
#include <string.h>

#include "engine/record.h"
#include "fs/rundir.h"
#include "fs/runfile.h"
#include "fs/spool.h"

static uint64_t limit(const struct fs *fs)
{
	(void)fs;
	return STEP_BYTES_MAX;
}

/* Asking may end the attempt, which takes a commit. */
static int check(struct call *call, const struct box_kind *kind, const char *text)
{
	struct reason reason = {0};
	struct rundir_name name;

	if (!box_is_dot(text))
		return -EPERM;
	if (!call->may_block) {
		call->group = kind->group;
		return -EAGAIN;
	}
	rundir_split(text, &name);
	return step_ask(call->fs->engine, &call->caller, name.id, name.name + 1, &call->attempt,
			&reason);
}

static int check_rename(struct call *call, const struct box_kind *kind, const char *text,
			const char *new_text)
{
	(void)call;
	(void)kind;
	return strcmp(box_leaf(text) + 1, box_leaf(new_text)) == 0 ? 0 : -EINVAL;
}

static int commit(struct call *call, struct spool *spool, const char *text,
		  const struct caller *caller, struct reason *reason)
{
	struct rundir_name name;

	rundir_split(text, &name);
	return step_record(call->fs->engine, caller, name.id, name.name, spool->fd,
			   atomic_load(&spool->size), reason);
}

static int describe(struct call *call, const struct box_kind *kind, const char *text,
		    struct stat *ret_attr)
{
	return rundir_describe_value(call, kind->place, text, S_IFREG | 0400, ret_attr);
}

static int open_value(struct call *call, const struct box_kind *kind, const char *text)
{
	return runfile_open_value(call, kind->place, text);
}

static int list(struct call *call, const struct box_kind *kind, const char *prefix,
		struct listing *listing)
{
	struct rundir_name name;

	(void)kind;
	return rundir_list_items(call, rundir_split(prefix, &name), ITEM_STEP, listing);
}

static bool is_stale(struct fs *fs, const struct spool *spool)
{
	struct rundir_name name;
	struct run_view view;
	int r = runs_view(fs->engine, rundir_split(spool->name, &name), &view);

	return r == -ENOENT ||
	       (r == 0 && (view.status != RUN_RUNNING || view.attempt != spool->attempt));
}

static void abandoned(struct fs *fs, const char *text, uint32_t attempt)
{
	struct rundir_name name;

	rundir_split(text, &name);
	step_abandon(fs->engine, name.id, name.name + 1, attempt);
}

const struct box_kind box_step = {
    .place = PLACE_STEP,
    .group = WORK_RUNS,
    .quota = QUOTA_ATTEMPTS,
    .takes_any_bytes = true,
    .noun = "step",
    .too_large = "value_too_large",
    .limit_name = "",
    .limit = limit,
    .check = check,
    .commit = commit,
    .describe = describe,
    .open = open_value,
    .list = list,
    .remove = rundir_refuse_removal,
    .check_rename = check_rename,
    .is_stale = is_stale,
    .abandoned = abandoned,
};
