/* SPDX-License-Identifier: Apache-2.0 */
/* What everything has in common that is recorded in a run: who may, and under which name. */
#include "engine/record.h"

#include <errno.h>

#include "engine/audit.h"
#include "engine/log.h"
#include "engine/run_private.h"
#include "engine/runs.h"

bool run_has_task(const struct run *run, pid_t task)
{
	return run->process && attempt_contains(&run->process->attempt, task);
}

int record_lock(struct engine *engine, const struct caller *caller, const char *id,
		struct run **ret_run, struct reason *reason)
{
	struct run *run = runs_find(engine, id);

	if (!run)
		return -ENOENT;
	pthread_mutex_lock(&run->lock);
	if (run->state.has_attempt && run->process && run->process->number == run->state.attempt &&
	    run_has_task(run, caller->pid)) {
		*ret_run = run;
		return 0;
	}
	record_unlock(run);
	return reason_set(
	    reason, EPERM, "attempt_required",
	    "process %d is not of the current attempt of run %s: only that may record "
	    "steps and arm timers",
	    (int)caller->pid, id);
}

void record_unlock(struct run *run)
{
	pthread_mutex_unlock(&run->lock);
	run_put(run);
}

void record_note_refusal(struct engine *engine, const struct caller *caller, const char *event,
			 const char *id, const char *name, const struct reason *reason)
{
	if (!reason || !reason->code[0])
		return;
	log_note(engine, event, false,
		 json_pack("{s:s, s:o, s:s, s:o, s:I}", "run", id, "name", audit_string(name),
			   "code", reason->code, "message", audit_string(reason->message), "uid",
			   (json_int_t)caller->uid));
}

int record_check_name(const char *name, struct reason *reason)
{
	if (event_name_is_valid(name))
		return 0;
	return reason_set(reason, EINVAL, "name_invalid",
			  "that can't be a name: 1 to %d bytes of UTF-8, no control characters, no "
			  "leading dot",
			  EVENT_NAME_MAX);
}
