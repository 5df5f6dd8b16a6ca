/* SPDX-License-Identifier: Apache-2.0 */
/* What /proc says of the task behind a request. Dying tasks: tests/mount/test_start.py. */
#include "fs/task.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void *look_from_a_thread(void *process)
{
	*(pid_t *)process = task_process(gettid());
	return NULL;
}

Test(task, a_thread_is_of_its_process)
{
	pid_t process = 0;
	pthread_t thread;

	cr_assert_eq(task_process(getpid()), getpid());
	cr_assert_eq(pthread_create(&thread, NULL, look_from_a_thread, &process), 0);
	pthread_join(thread, NULL);
	cr_assert_eq(process, getpid());
}

Test(task, a_name_can_not_deceive)
{
	cr_assert_eq(prctl(PR_SET_NAME, "x) Z 4 5 6 (\\nTg"), 0);
	cr_assert(task_is_running(getpid()));
	cr_assert(!task_is_dying(getpid()));
	cr_assert_eq(task_process(getpid()), getpid());
}

Test(task, who_has_ended_does_not_run)
{
	int ready[2];
	pid_t child;
	char byte;

	cr_assert_eq(pipe(ready), 0);
	child = fork();
	if (child == 0) {
		close(ready[0]);
		pause();
		_exit(0);
	}
	close(ready[1]);
	cr_assert(task_is_running(child));
	cr_assert(!task_is_dying(child));
	kill(child, SIGKILL);
	cr_assert_eq(read(ready[0], &byte, 1), 0);
	/* Its descriptors are closed; it becomes a zombie soon, and nobody has waited for it. */
	while (task_is_running(child))
		usleep(1000);
	waitpid(child, NULL, 0);
	cr_assert(!task_is_running(child));
	cr_assert_eq(task_process(child), 0);
}

Test(task, nothing_is_known_of_nobody)
{
	cr_assert_eq(task_process(0), 0);
	cr_assert(!task_is_running(0));
	cr_assert(!task_is_dying(0));
	cr_assert(!task_is_dying(-1));
}
