package rpc

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"shoal/server/api"
	"shoal/server/api/rpc/apipb"
	"shoal/server/channel"
)

// quiet is a service that takes publications and nothing else.
type quiet struct{ api.Service }

func (quiet) Publish(context.Context, string, *channel.Publication, api.PublishOptions) (channel.Position, *channel.Error) {
	return channel.Position{Offset: 1, Epoch: "ep"}, nil
}

// BenchmarkPublish is what a publication costs through gRPC, client and server in one
// process: alone, and in batches.
func BenchmarkPublish(b *testing.B) {
	s, err := New(Config{Key: key}, &api.Calls{Service: quiet{}}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		conn.Close()
		if err := s.Shutdown(context.Background()); err != nil {
			b.Error(err)
		}
		<-served
	}()
	client := apipb.NewCentrifugoApiClient(conn)
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "apikey "+key)
	publish := &apipb.PublishRequest{Channel: "news", Data: []byte(`{"text":"a message of about fifty bytes of data"}`)}
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint("batch=", n), func(b *testing.B) {
			batch := &apipb.BatchRequest{}
			for range n {
				batch.Commands = append(batch.Commands, &apipb.Command{Publish: publish})
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if n == 1 {
						if got, err := client.Publish(ctx, publish); err != nil || got.GetResult().GetOffset() != 1 {
							b.Error(got, err)
						}
					} else if got, err := client.Batch(ctx, batch); err != nil || len(got.GetReplies()) != n {
						b.Error(got, err)
					}
				}
			})
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/publication")
		})
	}
}
