// A server of gRPC as a service's authors write it in Go: the health check, reflection, its Pod's name in the metadata of each
// answer, connections of a greatest age, TLS, and a graceful stop.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
)

func main() {
	port := flag.Int("port", 8080, "to listen at")
	age := flag.Duration("max-connection-age", 0, "of connections; 0: they have no end")
	grace := flag.Duration("max-connection-age-grace", 0, "for calls under way; 0: they have no end")
	cert := flag.String("cert", "", "the server's certificate (PEM); without one there is no TLS")
	key := flag.String("key", "", "its private key (PEM)")
	flag.Parse()
	name := metadata.Pairs("x-pod-name", os.Getenv("POD_NAME"))
	named := func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if err := grpc.SetHeader(ctx, name); err != nil {
			return nil, err
		}
		return handler(ctx, request)
	}
	secured := insecure.NewCredentials()
	if *cert != "" {
		var err error
		if secured, err = credentials.NewServerTLSFromFile(*cert, *key); err != nil {
			panic(err)
		}
	}
	server := grpc.NewServer(
		grpc.Creds(secured),
		grpc.UnaryInterceptor(named),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: *age, MaxConnectionAgeGrace: *grace}),
	)
	healthgrpc.RegisterHealthServer(server, health.NewServer())
	reflection.Register(server)
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", *port))
	if err != nil {
		panic(err)
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	ended := make(chan struct{})
	go func() {
		<-told
		server.GracefulStop()
		close(ended)
	}()
	if err := server.Serve(listener); err != nil {
		panic(err)
	}
	<-ended
}
