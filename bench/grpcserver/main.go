// The health check of grpc-go, with the pod's name in its initial metadata. Listens at its argument; leaves when its input ends.
package main

import (
	"context"
	"io"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
)

func main() {
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		panic(err)
	}
	mark := metadata.Pairs("x-pod-name", "web-1")
	named := func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		grpc.SetHeader(ctx, mark)
		return handle(ctx, request)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(named))
	healthpb.RegisterHealthServer(server, health.NewServer())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	server.Serve(listener)
}
