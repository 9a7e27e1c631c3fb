package tuning

// settings is the table of all sysctls, those first that end a server first.
func settings() []setting {
	var all []setting
	all = append(all, descriptorSettings()...)
	all = append(all, queueSettings()...)
	all = append(all, memorySettings()...)
	all = append(all, portSettings()...)
	return append(all, trackingSettings()...)
}

// descriptorSettings bound how many sockets may be open.
func descriptorSettings() []setting {
	return []setting{
		{
			Name: "fs.nr_open", Unit: "descriptors of one process", For: Both, Grade: Fails, File: remark,
			Numbers: []number{{bound: least, basis: byProcess, floor: 1_048_576, per1000: 1000, plus: spareDescriptors, round: 1024, ceiling: 1_073_741_816}},
			Why:     "the descriptor limit of a process (ulimit -n, LimitNOFILE) cannot be raised above it",
			Cost:    "nothing until descriptors are opened; then 8 bytes each in a table that doubles",
			NotWhen: "the default of 1,048,576 is enough up to 1,048,320 connections in one process; systemd since 240 raises it at boot",
		},
		{
			Name: "fs.file-max", Unit: "open files of the whole host", For: Both, Grade: Fails, File: remark,
			Numbers: []number{{bound: least, basis: byEnds, floor: 262_144, per1000: 1000, plus: 16_384, round: 1024}},
			Why:     "the whole host may hold no more open files: accept fails in every program",
			Cost:    "nothing; it is a brake for the case that a program leaks files",
			NotWhen: "systemd since 240 sets it to the largest number there is, and then it must not be lowered",
		},
		{
			Name: "fs.epoll.max_user_watches", Unit: "sockets in epoll, of one user", For: Both, Grade: Fails,
			Numbers: []number{{bound: least, basis: byEnds, floor: 262_144, per1000: 1000, plus: 4096, round: 1024}},
			Why:     "the kernel refuses to watch more sockets (ENOSPC), however many may be open",
			Cost:    "about 200 bytes of kernel memory for each watched socket, when there is one",
			NotWhen: "the default is 4 % of low memory: enough from about 5 GiB for a million, seldom on a small board",
		},
	}
}

// queueSettings bound what waits on its way in.
func queueSettings() []setting {
	return []setting{
		{
			Name: "net.core.somaxconn", Unit: "connections waiting for accept, per listener", For: Serve, Ours: true, Grade: Warns,
			Numbers: []number{{bound: least, basis: byConns, floor: 4096, per1000: 31, round: 1024, ceiling: 65_535}},
			Why:     "when more than that wait for accept, as when all come back after a restart, the kernel drops the rest and they try again a second or more later",
			Cost:    "about 2.5 KB of kernel memory for each connection that really waits",
			NotWhen: "a long queue hides an overloaded server from its clients for longer: admission limits (PRESSURE.md) say no sooner",
		},
		{
			Name: "net.ipv4.tcp_max_syn_backlog", Unit: "half-open connections, per listener", For: Serve, Ours: true, Grade: Notes,
			Numbers: []number{{bound: least, basis: byConns, floor: 4096, per1000: 62, round: 1024, ceiling: 262_144}},
			Why:     "with SYN cookies off the kernel drops new connections when three quarters of that are half open",
			Cost:    "about 300 bytes for each half-open connection",
			NotWhen: "with net.ipv4.tcp_syncookies=1, the default, kernels since 4.4 go by the accept queue (somaxconn) instead; this is for those who switch cookies off",
		},
		{
			Name: "net.ipv4.tcp_syncookies", Unit: "0 off, 1 when the queue is full, 2 always", For: Serve, Ours: true, Grade: Warns,
			Numbers: []number{{bound: least, floor: 1, ceiling: 1}},
			Why:     "a flood of SYNs, or of honest clients who all come back, fills the queue and locks everybody out",
			Cost:    "connections made by cookie lose window scaling, unless both ends send timestamps",
			NotWhen: "a firewall in front answers SYNs itself",
		},
		{
			Name: "net.core.netdev_max_backlog", Unit: "packets waiting, per processor", For: Both, Grade: Notes,
			Numbers: []number{{bound: least, basis: byConns, floor: 4096, per1000: 16, round: 1024, ceiling: 65_536}},
			Why:     "packets that came over loopback, a container's veth or RPS wait here; what does not fit is dropped, and a fan-out comes in bursts",
			Cost:    "memory for the packets that wait (about 1 KB each), and latency when they do",
			NotWhen: "packets come straight from a network card without RPS: they never wait here",
		},
	}
}

// memorySettings bound what the kernel keeps for sockets.
func memorySettings() []setting {
	return []setting{
		{
			Name: "net.ipv4.tcp_mem", Unit: "pages, of 4 KiB as a rule: calm, pressure, end; of the whole host", For: Both, Grade: Warns, File: remark,
			Numbers: []number{
				{bound: least, basis: byEnds, per1000: 750, memory: 12},
				{bound: least, basis: byEnds, per1000: 1000, memory: 17},
				{bound: least, basis: byEnds, per1000: 1500, memory: 25},
			},
			Why:     "every socket with a byte in a queue is charged a whole page: one message to all is a page each until it is read and acknowledged; above the third number the kernel drops packets",
			Cost:    "it is a limit, not a reservation: but so much memory can be gone in a bad minute, and a third number near all of the memory is an invitation to the OOM killer",
			NotWhen: "connections mostly idle, or publications to small channels; or memory is short: fewer connections are the answer then",
		},
		{
			Name: "net.ipv4.tcp_rmem", Unit: "bytes per socket: smallest, first, largest receive buffer", For: Both, Ours: true, Grade: Notes, File: remark,
			Numbers: []number{{bound: leave, floor: 4096}, {bound: leave, floor: 131_072}, {bound: most, floor: 6_291_456, ceiling: 6_291_456}},
			Why:     "advice for file transfers raises the largest to 16 MB and more; here it lets one client that is not being read hold that much kernel memory",
			Cost:    "a single client uploads at most 6 MB per round trip",
			NotWhen: "the host also moves big files over long distances",
		},
		{
			Name: "net.ipv4.tcp_wmem", Unit: "bytes per socket: smallest, first, largest send buffer", For: Both, Ours: true, Grade: Notes, File: remark,
			Numbers: []number{{bound: leave, floor: 4096}, {bound: leave, floor: 16_384}, {bound: most, floor: 4_194_304, ceiling: 4_194_304}},
			Why:     "a slow receiver on a long way may hold that much kernel memory (Shoal gives the kernel no more than 128 KiB beyond what it can send, TCP_NOTSENT_LOWAT)",
			Cost:    "a single receiver downloads at most 4 MB per round trip",
			NotWhen: "the host also moves big files over long distances",
		},
		{
			Name: "net.ipv4.tcp_keepalive_time", Unit: "seconds of silence before the first probe", For: Both, Ours: true, Grade: Notes, File: remark,
			Numbers: []number{{bound: most, floor: 7200, ceiling: 7200}},
			Why:     "connections of programs that switch keepalive on and say no more are found dead only after that; Shoal's own have 300 s, 15 s and 3 probes (loop.Config), whatever is here",
			Cost:    "a probe to every silent connection of such a program, that often",
			NotWhen: "only Shoal runs here: it does not look at this",
		},
	}
}

// portSettings concern whoever dials.
func portSettings() []setting {
	return []setting{
		{
			Name: "net.ipv4.ip_local_port_range", Unit: "first and last port", For: Both, Ours: true, Grade: Notes,
			Numbers: []number{{bound: start, floor: 10_240, ceiling: 10_240}, {bound: least, floor: 65_535, ceiling: 65_535}},
			Why:     "who dials needs a port of its own for each connection to one address: load tests, a proxy on this host, hooks to a backend",
			Cost:    "a program that listens above 10240 may find its port taken: put it into net.ipv4.ip_local_reserved_ports; Shoal's 8000 and 9000 are below, 10000 (gRPC) too",
			NotWhen: "nothing on the host dials in numbers",
		},
		{
			Name: "net.ipv4.tcp_tw_reuse", Unit: "0 off, 1 on, 2 on loopback only", For: LoadTest, Ours: true, Grade: Notes,
			Numbers: []number{{bound: same, floor: 1, ceiling: 1}},
			Why:     "a port is free again only a minute after its connection has ended, so a second load test finds none",
			Cost:    "next to nothing: it concerns dialled connections only, and timestamps tell old segments from new",
			NotWhen: "a server: what it accepts is not concerned. Never confuse it with tcp_tw_recycle, which broke clients behind NAT and is gone since 4.12",
		},
	}
}

// trackingSettings are there only where the module nf_conntrack is loaded.
func trackingSettings() []setting {
	return []setting{
		{
			Name: "net.netfilter.nf_conntrack_max", Unit: "tracked connections", For: Both, Grade: Fails, File: optional,
			Numbers: []number{{bound: least, basis: byConns, floor: 262_144, per1000: 1000, plus: 65_536, round: 1024}},
			Why:     "«nf_conntrack: table full, dropping packet»: the firewall drops whatever is new, ssh as well",
			Cost:    "about 320 bytes of kernel memory for each tracked connection",
			NotWhen: "nothing needs to be tracked on the server's port: NOTRACK costs less (below)",
		},
		{
			Name: "net.netfilter.nf_conntrack_buckets", Unit: "hash buckets", For: Both, Grade: Notes, File: optional,
			Numbers: []number{{bound: least, basis: byConns, floor: 65_536, per1000: 250, plus: 16_384, round: 1024}},
			Why:     "more than four entries for a bucket make each packet's look-up a walk",
			Cost:    "8 bytes each, at once; a change rehashes the table, which takes some ms",
			NotWhen: "NOTRACK",
		},
	}
}
