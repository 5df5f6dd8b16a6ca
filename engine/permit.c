/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may change what. The kernel's own check can't be used (DESIGN section 5), so the caller's user
 * and groups decide here. Supplementary groups are read from /proc (proc(5), "Groups:"), which is
 * reliable because the task waits for our answer; a task of a foreign pid namespace (pid 0) has none.
 */
#include "engine/permit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/audit.h"
#include "engine/log.h"

static bool line_names_group(const char *line, gid_t group)
{
	char *end;

	for (;;) {
		unsigned long value = strtoul(line, &end, 10);

		if (end == line)
			return false;
		if (value == group)
			return true;
		line = end;
	}
}

static bool has_supplementary_group(pid_t pid, gid_t group)
{
	char path[64], *line = NULL;
	size_t room = 0;
	bool found = false;
	FILE *status;

	if (pid <= 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	status = fopen(path, "re");
	if (!status)
		return false;
	while (getline(&line, &room, status) > 0) {
		if (strncmp(line, "Groups:", 7) == 0) {
			found = line_names_group(line + 7, group);
			break;
		}
	}
	free(line);
	fclose(status);
	return found;
}

static bool is_member(const struct caller *caller, bool has_group, gid_t group)
{
	return has_group &&
	       (caller->gid == group || has_supplementary_group(caller->pid, group));
}

bool permit_user(const struct engine *engine, const struct caller *caller, uid_t uid)
{
	return caller->uid == uid || caller->uid == 0 || caller->uid == engine->options.owner;
}

static bool may_deploy(const struct engine_options *options, const struct caller *caller)
{
	return caller->uid == 0 || caller->uid == options->owner ||
	       is_member(caller, options->has_deploy_group, options->deploy_group);
}

static bool may_start(const struct engine_options *options, const struct caller *caller)
{
	if (caller->is_permitted)
		return true;
	if (!options->has_start_group)
		return may_deploy(options, caller);
	return caller->uid == 0 || caller->uid == options->owner ||
	       is_member(caller, true, options->start_group);
}

static void note_denial(struct engine *engine, const struct caller *caller, const char *what,
			const char *object)
{
	log_note(engine, "denied", false,
		 json_pack("{s:s, s:o, s:I, s:I}", "what", what, "object", audit_string(object),
			   "uid", (json_int_t)caller->uid, "pid", (json_int_t)caller->pid));
}

int permit_start(struct engine *engine, const struct caller *caller, const char *object,
		 struct reason *reason)
{
	if (may_start(&engine->options, caller))
		return 0;
	note_denial(engine, caller, "start", object);
	return reason_set(reason, EACCES, "not_permitted",
			  "user %u may not start runs here: that is for root, the owner of the mount "
			  "and members of its %s",
			  (unsigned)caller->uid,
			  engine->options.has_start_group ? "start_group" : "deploy_group");
}

int permit_deploy(struct engine *engine, const struct caller *caller, const char *what,
		  const char *object, struct reason *reason)
{
	if (may_deploy(&engine->options, caller))
		return 0;
	note_denial(engine, caller, what, object);
	return reason_set(reason, EACCES, "not_permitted",
			  "user %u may not %s %s: that is for root, the owner of the mount and "
			  "members of its deploy_group",
			  (unsigned)caller->uid, what, object);
}
