import socket,threading,time,sys
stop=False; done=[0]*6; err=[]
def count(i):
    s=socket.create_connection(("127.0.0.1",17780)); s.settimeout(20); n=0; f=s.makefile('rb')
    while not stop:
        s.sendall(b"INCR k%d\r\n"%i); r=f.readline(); n+=1
        if r!=b":%d\r\n"%n: err.append((i,n,r)); return
        done[i]=n
def conn(i):
    n=0
    while not stop:
        try:
            s=socket.create_connection(("127.0.0.1",17780)); s.settimeout(20); s.sendall(b"INCR k%d\r\n"%i); r=s.recv(100); n+=1
            if r!=b":%d\r\n"%n: err.append((i,n,r)); return
            s.close(); done[i]=n
        except Exception as e: err.append((i,n,repr(e))); return
ts=[threading.Thread(target=count,args=(i,)) for i in range(4)]+[threading.Thread(target=conn,args=(i,)) for i in (4,5)]
[t.start() for t in ts]
time.sleep(float(sys.argv[1])); stop=True; [t.join() for t in ts]; print(done,err)
