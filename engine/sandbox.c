/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walls around the decoder: descriptors, resource limits, identity, and an allow-list of
 * system calls whose breach kills. The order matters: a change of identity clears the parent
 * death signal and the dumpable flag, so both come behind it, and the list of calls comes last
 * because it forbids setting up the others.
 * A build with AddressSanitizer needs its shadow memory and a few more calls; it is for tests.
 */
#include "engine/sandbox.h"

#include <errno.h>
#include <grp.h>
#include <seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* "nobody" everywhere that it exists, and nobody's id where it does not. */
#define NOBODY 65534

static int limit(int resource, rlim_t soft, rlim_t hard)
{
	struct rlimit old, new = {.rlim_cur = soft, .rlim_max = hard};

	/* Without privileges a hard limit can only go down. */
	if (getrlimit(resource, &old) < 0)
		return -1;
	if (new.rlim_max > old.rlim_max)
		new.rlim_max = old.rlim_max;
	if (new.rlim_cur > new.rlim_max)
		new.rlim_cur = new.rlim_max;
	return setrlimit(resource, &new);
}

static int limit_resources(unsigned cpu_seconds, uint64_t memory_bytes)
{
	if (limit(RLIMIT_CORE, 0, 0) < 0 || limit(RLIMIT_FSIZE, 0, 0) < 0 ||
	    limit(RLIMIT_NOFILE, 8, 8) < 0 ||
	    limit(RLIMIT_CPU, cpu_seconds, (rlim_t)cpu_seconds + 1) < 0)
		return -1;
	return SANITIZED ? 0 : limit(RLIMIT_AS, memory_bytes, memory_bytes);
}

static int drop_root(void)
{
	if (geteuid() != 0)
		return 0;
	if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) < 0)
		return -1;
	return 0;
}

static int restrict_process(void)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -1;
	return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
}

static int allow(scmp_filter_ctx filter, const int *calls, size_t count)
{
	int result = 0;

	for (size_t i = 0; i < count && result == 0; i++)
		result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
	return result;
}

/* Memory may be had, but never memory that can be executed. */
static int allow_memory(scmp_filter_ctx filter)
{
	int result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				      SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));

	if (result == 0)
		result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
					  SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	return result;
}

static int fill_filter(scmp_filter_ctx filter)
{
	/* sysinfo is qsort's, which sizes its buffer by the machine's memory. */
	static const int calls[] = {
	    SCMP_SYS(read),
	    SCMP_SYS(pread64),
	    SCMP_SYS(lseek),
	    SCMP_SYS(write),
	    SCMP_SYS(writev),
	    SCMP_SYS(munmap),
	    SCMP_SYS(mremap),
	    SCMP_SYS(brk),
	    SCMP_SYS(madvise),
	    SCMP_SYS(futex),
	    SCMP_SYS(exit),
	    SCMP_SYS(exit_group),
	    SCMP_SYS(rt_sigreturn),
	    SCMP_SYS(sysinfo),
	    SCMP_SYS(clock_gettime),
	    SCMP_SYS(getrandom),
	    SCMP_SYS(restart_syscall),
	};
	static const int sanitizer_calls[] = {
	    SCMP_SYS(openat),
	    SCMP_SYS(close),
	    SCMP_SYS(readlink),
	    SCMP_SYS(readlinkat),
	    SCMP_SYS(fstat),
	    SCMP_SYS(newfstatat),
	    SCMP_SYS(getpid),
	    SCMP_SYS(gettid),
	    SCMP_SYS(tgkill),
	    SCMP_SYS(kill),
	    SCMP_SYS(rt_sigaction),
	    SCMP_SYS(rt_sigprocmask),
	    SCMP_SYS(sigaltstack),
	    SCMP_SYS(sched_yield),
	    SCMP_SYS(getrlimit),
	    SCMP_SYS(prlimit64),
	    SCMP_SYS(clone),
	    SCMP_SYS(clone3),
	    SCMP_SYS(wait4),
	    SCMP_SYS(ptrace),
	    SCMP_SYS(prctl),
	    SCMP_SYS(arch_prctl),
	    SCMP_SYS(set_robust_list),
	    SCMP_SYS(getdents64),
	    SCMP_SYS(mmap),
	    SCMP_SYS(mprotect),
	    SCMP_SYS(sched_getaffinity),
	    SCMP_SYS(getuid),
	    SCMP_SYS(geteuid),
	    SCMP_SYS(pipe2),
	    SCMP_SYS(process_vm_readv),
	    SCMP_SYS(ioctl),
	};
	int result = allow(filter, calls, sizeof(calls) / sizeof(calls[0]));

	if (result == 0 && SANITIZED)
		return allow(filter, sanitizer_calls,
			     sizeof(sanitizer_calls) / sizeof(sanitizer_calls[0]));
	return result == 0 ? allow_memory(filter) : result;
}

static int forbid_calls(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int result;

	if (!filter) {
		errno = ENOMEM;
		return -1;
	}
	result = fill_filter(filter);
	if (result == 0)
		result = seccomp_load(filter);
	seccomp_release(filter);
	if (result < 0) {
		errno = -result;
		return -1;
	}
	return 0;
}

int sandbox_enter(unsigned cpu_seconds, uint64_t memory_bytes, const char **ret_step)
{
	*ret_step = "close what was inherited";
	if (close_range(STDERR_FILENO + 1, ~0U, 0) < 0 && errno != ENOSYS)
		return -1;
	*ret_step = "give up root";
	if (drop_root() < 0)
		return -1;
	*ret_step = "restrict the process";
	if (restrict_process() < 0)
		return -1;
	*ret_step = "limit resources";
	if (limit_resources(cpu_seconds, memory_bytes) < 0)
		return -1;
	*ret_step = "forbid system calls";
	return forbid_calls();
}
