package kernel

import (
	"slices"
	"strconv"
	"strings"
)

// socketCaches are the slab caches whose objects a TCP socket with its descriptor and its place in an epoll set consists of, or
// leaves behind. Caches with objects of the same size may be merged (slab_nomerge): what a host does not list is in another one.
// dentry and lsm_inode_cache serve files, too; of thousands of sockets that is little, if the host does nothing else.
var socketCaches = []string{
	"TCP", "TCPv6", "request_sock_TCP", "request_sock_TCPv6", "tw_sock_TCP", "tw_sock_TCPv6", "tcp_bind_bucket", "tcp_bind2_bucket",
	"sock_inode_cache", "filp", "lsm_file_cache", "lsm_inode_cache", "dentry",
	"skbuff_head_cache", "skbuff_small_head", "skbuff_fclone_cache",
	"eventpoll_epi", "eventpoll_pwq", "ep_head",
}

// caches reads slabinfo(5): what the objects in use take of the caches of sockets, with their share of what is lost at the end of slabs.
// Slabs that are kept empty do not count: they are there for the next ones.
func caches(text string, page int64) (map[string]int64, error) {
	if !strings.HasPrefix(text, "slabinfo - version: 2") {
		return nil, errForm
	}
	all := map[string]int64{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 6 || !slices.Contains(socketCaches, f[0]) {
			continue
		}
		objects, err1 := strconv.ParseInt(f[1], 10, 64)
		perSlab, err2 := strconv.ParseInt(f[4], 10, 64)
		pages, err3 := strconv.ParseInt(f[5], 10, 64)
		if err1 == nil && err2 == nil && err3 == nil && perSlab > 0 {
			all[f[0]] = objects * pages * page / perSlab
		}
	}
	return all, nil
}
